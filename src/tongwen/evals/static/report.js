// The transcripts: found, filtered, turned over page by page.  Whatever a model or a benchmark
// wrote reaches the page as text, never as HTML.
"use strict";
{
  const PAGE = 50;
  const VERDICTS = ["right", "wrong", "partly", "scored", "failed"];

  const byId = (id) => document.getElementById(id);

  // A new element: attributes by name, functions as listeners, then its children.
  function el(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (typeof value === "function") made.addEventListener(name, value);
      else if (value !== false && value !== undefined) made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  const places = [...document.querySelectorAll("script.run")];
  const read = new Map();
  let shown = [];
  let page = 0;

  // A run's samples; read when they are first wanted.
  function run(number) {
    if (!read.has(number)) read.set(number, JSON.parse(places[number].textContent));
    return read.get(number);
  }

  const current = () => run(Number(byId("run").value));
  const text = (data, numbers) => numbers.map((number) => data.paragraphs[number]).join("\n\n");
  const scoreOf = ({ score, verdict }) => verdict === "scored"
    ? String(Math.round(score * 1e4) / 1e4) : `${Math.round(score * 1000) / 10} %`;

  // ---- filters

  // A function that says whether a sample holds what is searched.
  function finder(data, wanted) {
    if (!wanted) return () => true;
    const holds = (value) => String(value ?? "").toLowerCase().includes(wanted);
    const inside = new Set();
    data.paragraphs.forEach((paragraph, number) => { if (holds(paragraph)) inside.add(number); });
    return (sample) => holds(sample.id) || holds(sample.failed)
      || (sample.prompt ?? []).some(([, numbers]) => numbers.some((each) => inside.has(each)))
      || (sample.options ?? []).some(holds) || (sample.later ?? []).some(holds)
      || (sample.answers ?? []).some((answer) => holds(answer.parsed)
        || (answer.turns ?? []).some(holds) || Object.values(answer.notes ?? {}).some(holds));
  }

  function filter() {
    const data = current();
    const group = byId("group").value;
    const found = finder(data, byId("search").value.trim().toLowerCase());
    const among = data.samples.filter((sample) => (group === "" || sample.group === group)
      && found(sample));
    const verdict = document.querySelector("#verdicts input:checked")?.value ?? "";
    shown = among.filter((sample) => verdict === "" || sample.verdict === verdict);
    for (const label of document.querySelectorAll("#verdicts label")) {
      const kind = label.querySelector("input").value;
      const count = among.filter((sample) => kind === "" || sample.verdict === kind).length;
      label.querySelector("span").textContent = `${kind || "all"} ${count.toLocaleString("en")}`;
    }
    turn(0);
  }

  // The controls, for a run that was chosen.
  function prepare() {
    const data = current();
    const kinds = VERDICTS.filter((kind) => data.samples.some((each) => each.verdict === kind));
    const radio = (kind) => el("label", {},
      el("input", { type: "radio", name: "verdict", value: kind, checked: kind === "" && "" }),
      el("span"));
    byId("verdicts").replaceChildren(
      el("legend", { class: "unseen" }, "Verdict"), ...["", ...kinds].map(radio));
    const groups = [...new Set(data.samples.map((sample) => sample.group ?? ""))].sort();
    byId("group").replaceChildren(
      el("option", { value: "" }, "all"),
      ...groups.filter((group) => group !== "")
        .map((group) => el("option", { value: group }, group)));
    byId("group-field").hidden = groups.length < 2;
    filter();
  }

  // ---- the list

  function turn(to) {
    const last = Math.max(0, Math.ceil(shown.length / PAGE) - 1);
    page = Math.min(Math.max(0, to), last);
    const first = page * PAGE;
    const data = current();
    byId("samples").replaceChildren(
      ...shown.slice(first, first + PAGE).map((sample) => line(data, sample)));
    const until = Math.min(first + PAGE, shown.length);
    byId("count").textContent = shown.length === 0 ? "No sample is like that"
      : `${(first + 1).toLocaleString("en")}–${until.toLocaleString("en")} of `
        + `${shown.length.toLocaleString("en")} samples`;
    byId("previous").disabled = page === 0;
    byId("next").disabled = page === last;
  }

  // A sample in one line; what is in it is made when it is opened.
  function line(data, sample) {
    const made = el("details", { class: "sample" },
      el("summary", {},
        el("span", { class: `verdict ${sample.verdict}` }, sample.verdict),
        el("span", {}, sample.group ? `${sample.id} · ${sample.group}` : sample.id),
        el("span", { class: "preview" }, preview(sample)),
        el("span", { class: "number" },
          sample.score === undefined ? "" : scoreOf(sample))));
    made.addEventListener("toggle", () => {
      if (!made.open || made.children.length > 1) return;
      made.append(...body(data, sample));
      // What is asked stands at the end, below what was shown solved.
      for (const asked of made.querySelectorAll(".asked pre")) asked.scrollTop = asked.scrollHeight;
    });
    return made;
  }

  function preview(sample) {
    const answer = sample.answers?.[0];
    const said = sample.failed ?? answer?.parsed ?? answer?.turns?.at(-1) ?? "";
    return String(said).slice(0, 200);
  }

  function body(data, sample) {
    const turns = (sample.prompt ?? [])
      .map(([label, numbers]) => said(label, text(data, numbers), "turn asked"));
    const many = (sample.answers ?? []).length > 1;
    const answers = (sample.answers ?? []).flatMap(
      (answer, number) => answered(sample, answer, many ? ` ${number + 1}` : ""));
    const failed = sample.failed === undefined ? [] : [said("failed", sample.failed)];
    const digest = sample.digest === undefined ? []
      : [facts([["prompt, SHA-256", sample.digest]])];
    return [...turns, ...answers, ...failed, ...digest];
  }

  function answered(sample, answer, which) {
    const turns = (answer.turns ?? []).flatMap((turn, number) => [
      ...(number > 0 ? [said("user", sample.later?.[number - 1] ?? "")] : []),
      said(`completion${which}`, turn, "turn answer"),
    ]);
    const known = [
      ["parsed", answer.parsed], ["score", answer.score], ["ended by", answer.finish],
      ...Object.entries(answer.metrics ?? {}), ...Object.entries(answer.notes ?? {}),
    ];
    const weighed = answer.likelihoods ? [likelihoods(sample.options ?? [], answer)] : [];
    return [...turns, ...weighed, facts(known.filter(([, value]) => value !== undefined))];
  }

  function said(label, content, kind = "turn") {
    return el("div", { class: kind }, el("p", {}, label),
      el("pre", { tabindex: "0" }, content === "" ? "(nothing)" : content));
  }

  // The options that were weighed, the likeliest in bold.
  function likelihoods(options, answer) {
    const best = Math.max(...answer.likelihoods.map(([logprob]) => logprob));
    const rows = answer.likelihoods.map(([logprob, tokens], number) => el(
      "tr", { class: logprob === best && options.length > 0 ? "best" : "" },
      el("td", {}, options[number] ?? "the text"),
      el("td", { class: "number" }, logprob.toFixed(4)),
      el("td", { class: "number" }, String(tokens))));
    const head = ["Continuation", "Log-probability", "Tokens"]
      .map((name) => el("th", { scope: "col" }, name));
    return el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows));
  }

  function facts(known) {
    return el("dl", {}, ...known.map(([name, value]) =>
      el("div", {}, el("dt", {}, name), el("dd", {}, String(value)))));
  }

  // ---- hands

  function step(by) {
    const lines = [...document.querySelectorAll(".sample > summary")];
    const at = lines.findIndex((each) => each.parentElement.contains(document.activeElement));
    lines[Math.min(lines.length - 1, Math.max(0, at + by))]?.focus();
  }

  function turnAndFocus(to) {
    turn(to);
    byId("samples").querySelector("summary")?.focus();
  }

  const KEYS = {
    "/": () => byId("search").focus(),
    j: () => step(1),
    k: () => step(-1),
    "[": () => turnAndFocus(page - 1),
    "]": () => turnAndFocus(page + 1),
  };

  function key(event) {
    const writes = event.target.closest("input[type=search], select");
    if (writes || event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
    event.preventDefault();
    KEYS[event.key]();
  }

  function showGroup(event) {
    const { run: number, group } = event.currentTarget.dataset;
    byId("run").value = number;
    prepare();
    byId("group").value = group;
    filter();
    byId("transcripts").scrollIntoView();
    byId("transcripts").focus({ preventScroll: true });
  }

  function theme() {
    const button = byId("theme");
    const dark = () => document.documentElement.dataset.theme === "dark";
    const named = () => { button.textContent = dark() ? "Light" : "Dark"; };
    const prefers = matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = prefers ? "dark" : "light";
    button.addEventListener("click", () => {
      document.documentElement.dataset.theme = dark() ? "light" : "dark";
      named();
    });
    button.hidden = false;
    named();
  }

  function start() {
    theme();
    if (places.length === 0) return;
    byId("run").append(...places.map((place, number) =>
      el("option", { value: String(number) }, place.dataset.name)));
    byId("run-field").hidden = places.length < 2;
    byId("run").addEventListener("change", prepare);
    for (const id of ["group", "verdicts"]) byId(id).addEventListener("change", filter);
    let waiting;
    byId("search").addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(filter, 150);
    });
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("previous").addEventListener("click", () => turn(page - 1));
    byId("next").addEventListener("click", () => turn(page + 1));
    byId("transcripts").addEventListener("keydown", key);
    for (const button of document.querySelectorAll(".group")) {
      button.addEventListener("click", showGroup);
    }
    for (const each of document.querySelectorAll("#filters, .bar-of-pages, #keys")) {
      each.hidden = false;
    }
    prepare();
  }

  start();
}
