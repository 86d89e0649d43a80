"""Short harmless questions in every language of the Qwen2 cards, written for this package."""

NAMES = {
    "en": "English",
    "zh": "Chinese",
    "fr": "French",
    "es": "Spanish",
    "pt": "Portuguese",
    "de": "German",
    "it": "Italian",
    "nl": "Dutch",
    "ru": "Russian",
    "cs": "Czech",
    "pl": "Polish",
    "ar": "Arabic",
    "fa": "Persian",
    "he": "Hebrew",
    "tr": "Turkish",
    "ja": "Japanese",
    "ko": "Korean",
    "vi": "Vietnamese",
    "th": "Thai",
    "id": "Indonesian",
    "ms": "Malay",
    "lo": "Lao",
    "my": "Burmese",
    "ceb": "Cebuano",
    "km": "Khmer",
    "tl": "Tagalog",
    "hi": "Hindi",
    "bn": "Bengali",
    "ur": "Urdu",
}
"""In the order of the cards."""

QUESTIONS: dict[str, tuple[str, str]] = {
    "en": ("Why do people need sleep? Answer in three sentences.", "How do you cook rice?"),
    "zh": ("人为什么需要睡眠？请用三句话回答。", "怎么煮米饭？"),
    "fr": (
        "Pourquoi avons-nous besoin de dormir ? Répondez en trois phrases.",
        "Comment fait-on cuire du riz ?",
    ),
    "es": ("¿Por qué necesitamos dormir? Responde en tres frases.", "¿Cómo se cocina el arroz?"),
    "pt": ("Por que precisamos de dormir? Responda em três frases.", "Como se cozinha arroz?"),
    "de": ("Warum brauchen Menschen Schlaf? Antworte in drei Sätzen.", "Wie kocht man Reis?"),
    "it": ("Perché abbiamo bisogno di dormire? Rispondi in tre frasi.", "Come si cuoce il riso?"),
    "nl": ("Waarom hebben mensen slaap nodig? Antwoord in drie zinnen.", "Hoe kook je rijst?"),
    "ru": ("Зачем людям нужен сон? Ответьте тремя предложениями.", "Как сварить рис?"),
    "cs": ("Proč lidé potřebují spánek? Odpovězte třemi větami.", "Jak se vaří rýže?"),
    "pl": ("Dlaczego ludzie potrzebują snu? Odpowiedz w trzech zdaniach.", "Jak gotuje się ryż?"),
    "ar": ("لماذا يحتاج الإنسان إلى النوم؟ أجب في ثلاث جمل.", "كيف يُطبخ الأرز؟"),
    "fa": ("چرا انسان به خواب نیاز دارد؟ در سه جمله پاسخ دهید.", "چگونه برنج می‌پزند؟"),
    "he": ("למה בני אדם צריכים שינה? ענו בשלושה משפטים.", "איך מבשלים אורז?"),
    "tr": (
        "İnsanlar neden uykuya ihtiyaç duyar? Üç cümleyle yanıtlayın.",
        "Pilav nasıl pişirilir?",
    ),
    "ja": (
        "人はなぜ睡眠が必要なのですか。三つの文で答えてください。",
        "ご飯はどうやって炊きますか。",
    ),
    "ko": ("사람은 왜 잠을 자야 하나요? 세 문장으로 답해 주세요.", "밥은 어떻게 짓나요?"),
    "vi": ("Vì sao con người cần ngủ? Hãy trả lời bằng ba câu.", "Nấu cơm như thế nào?"),
    "th": ("ทำไมคนเราต้องนอนหลับ กรุณาตอบสามประโยค", "หุงข้าวอย่างไร"),
    "id": (
        "Mengapa manusia perlu tidur? Jawablah dalam tiga kalimat.",
        "Bagaimana cara memasak nasi?",
    ),
    "ms": (
        "Mengapakah manusia memerlukan tidur? Jawab dalam tiga ayat.",
        "Bagaimanakah cara memasak nasi?",
    ),
    "lo": ("ເປັນຫຍັງຄົນເຮົາຈຶ່ງຕ້ອງນອນ? ກະລຸນາຕອບສາມປະໂຫຍກ.", "ຫຸງເຂົ້າແນວໃດ?"),
    "my": ("လူတွေ ဘာကြောင့် အိပ်ဖို့ လိုအပ်ပါသလဲ။ ဝါကျသုံးကြောင်းဖြင့် ဖြေပါ။", "ထမင်း ဘယ်လိုချက်ပါသလဲ။"),
    "ceb": (
        "Ngano nga gikinahanglan sa tawo ang pagkatulog? Tubaga sa tulo ka hugpong sa mga pulong.",
        "Unsaon pagluto og kan-on?",
    ),
    "km": ("ហេតុអ្វីបានជាមនុស្សត្រូវការគេង? សូមឆ្លើយជាបីប្រយោគ។", "តើដាំបាយដោយរបៀបណា?"),
    "tl": (
        "Bakit kailangan ng tao ang tulog? Sagutin sa tatlong pangungusap.",
        "Paano nagluluto ng kanin?",
    ),
    "hi": ("मनुष्य को नींद की ज़रूरत क्यों होती है? तीन वाक्यों में उत्तर दें।", "चावल कैसे पकाते हैं?"),
    "bn": ("মানুষের ঘুমের প্রয়োজন কেন? তিনটি বাক্যে উত্তর দিন।", "ভাত কীভাবে রান্না করে?"),
    "ur": ("انسان کو نیند کی ضرورت کیوں ہوتی ہے؟ تین جملوں میں جواب دیں۔", "چاول کیسے پکاتے ہیں؟"),
}
"""Why people sleep, and how rice is cooked."""

TEMPLATES = {
    "asked": "Please answer in {language}: why do leaves change colour in autumn?",
    "read": "Summarise this in {language}, in two sentences: The ferry was late because of fog.  "
    "The travellers drank tea in the harbour and told each other stories until noon.",
    "code": "Explain in {language} what this program does.\n\n```python\n"
    "total = sum(n for n in range(10) if n % 2)\nprint(total)\n```",
}
"""Questions in English whose answer is wanted in another language."""
