// Before anything is painted: the theme and the language, so that neither flickers.
"use strict";
{
  let kept = {};
  try {
    kept = JSON.parse(localStorage.getItem("tongwen.preferences") ?? "{}") ?? {};
  } catch {
    // A browser that keeps nothing, or something else under our name: the defaults hold.
  }
  if (kept.theme === "light" || kept.theme === "dark") {
    document.documentElement.dataset.theme = kept.theme;
  }
  const wanted = kept.language ?? navigator.language;
  document.documentElement.lang = String(wanted).startsWith("zh") ? "zh-CN" : "en";
}
