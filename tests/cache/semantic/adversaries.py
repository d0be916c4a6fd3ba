"""Pairs of near texts whose answers differ, by class, and pairs that mean the same. Our own phrases, put together by a seed.

The phrases were written apart from the guards' lists (``semantic.alternatives``). Antonyms and countries that earlier
runs missed were then taken up there, with some hundred others; ``unseen_antonyms`` came after that. Captions of products and chat questions in equal parts, as in the traffic that such a cache sees.
"""

import random
from collections.abc import Callable

Pair = tuple[str, str]
COUNT = 300

_COUNTED = [
    "List {} tips for better sleep",
    "Write a {}-word story about a lighthouse",
    "What is {} plus 17?",
    "how many grams are in {} ounces",
    "Suggest a workout plan for {} days",
    "A set of {} ceramic plates with a blue rim",
    "I have {} dollars, how should I invest it?",
    "Summarize the article in {} sentences",
    "convert {} celsius to fahrenheit",
    "Give me {} names for a bakery",
    "what happened in {}",
    "Is a BMI of {} healthy?",
    "How tall is a building with {} floors?",
    "Backpack with {} litre volume, waterproof",
    "what is {}% of 640",
    "Explain article {} of the constitution",
    "tires for a {} inch wheel",
    "Recipe for {} people",
    "Which chapter comes after chapter {}?",
    "LED bulb {} watts, warm white",
]
_SPELT = [
    "two",
    "three",
    "four",
    "six",
    "seven",
    "nine",
    "eleven",
    "twelve",
    "fifteen",
    "twenty",
    "thirty",
    "fifty",
    "ninety",
    "hundred",
]
_DATED = [
    "What was the population of Peru in {}?",
    "best films of {}",
    "events on {} March 1945",
    "Write a diary entry dated June {}",
    "opening hours on the {} of December",
]
_RANGES = [
    "hotels between {} and {} dollars",
    "jeans for ages {}-{}",
    "Pick a random number from {} to {}",
    "toys for {} to {} year olds",
]
_UNITS = [
    ("How long does it take to walk 5 km?", "How long does it take to walk 5 miles?"),
    ("A 20 oz water bottle", "A 20 ml water bottle"),
    ("bake at 180 celsius", "bake at 180 fahrenheit"),
    ("Is 60 kg a healthy weight?", "Is 60 lbs a healthy weight?"),
    ("What can I buy for 30 euros?", "What can I buy for 30 yen?"),
    ("meeting at 7 am", "meeting at 7 pm"),
    ("rest for 10 minutes", "rest for 10 hours"),
    ("a 3 month contract", "a 3 year contract"),
    ("16 GB memory stick", "16 MB memory stick"),
    ("a 40 cm shelf", "a 40 inch shelf"),
]

_AFFIRMED = [
    ("Can I take aspirin with coffee?", "Can I not take aspirin with coffee?"),
    ("Cake with eggs", "Cake without eggs"),
    ("Which birds can fly?", "Which birds cannot fly?"),
    ("Why do {} sleep at night?", "Why don't {} sleep at night?"),
    ("Which {} are poisonous?", "Which {} are not poisonous?"),
    ("Is it allowed to keep {} at home?", "Isn't it allowed to keep {} at home?"),
    ("Should I feed {} twice a day?", "Should I never feed {} twice a day?"),
    ("Food that is safe for {}", "Food that is unsafe for {}"),
    ("Countries where {} are found", "Countries where no {} are found"),
    ("A picture with {} in it", "A picture without {} in it"),
    ("Do {} have teeth?", "Do {} have no teeth?"),
    ("Everything about {}", "Everything except {}"),
    ("Explain why {} are endangered", "Explain why {} aren't endangered"),
    ("Are {} able to swim?", "Are {} unable to swim?"),
    ("a room where {} are allowed", "a room where {} aren't allowed"),
    ("When will {} attack people?", "When won't {} attack people?"),
    ("Is it legal to own {}?", "Is it illegal to own {}?"),
    ("Are {} social animals?", "Are {} antisocial animals?"),
    ("Could {} survive in the desert?", "Couldn't {} survive in the desert?"),
    ("Should {} be vaccinated?", "Shouldn't {} be vaccinated?"),
]
_CREATURES = ["otters", "hedgehogs", "geckos", "ferrets", "penguins", "tarantulas", "pythons", "falcons", "wolves", "badgers", "jellyfish", "bats", "crows", "beavers", "owls", "foxes", "seals"]  # fmt: skip

_ASKED_OF = [
    "What is the capital of {}?",
    "visa requirements for {}",
    "typical breakfast in {}",
    "Explain the tax system of {} for freelancers",
    "Who is the head of state of {}?",
    "history of {} in three sentences",
    "a travel poster of {} in flat style",
    "Is it safe to drink tap water in {}?",
    "public holidays in {}",
    "Write a slogan for a holiday in {}",
]
_LANDS = ["Norway", "Chile", "Vietnam", "Morocco", "Portugal", "Kenya", "Canada", "Poland", "Japan", "Greece", "Cuba", "Iceland", "Nepal", "Ireland", "Jordan", "Uruguay", "Malta", "Laos", "the EU", "the US", "the UK"]  # fmt: skip
_TOWNS = ["Lyon", "Osaka", "Boston", "Krakow", "Lima", "Oslo", "Turin", "Bergen", "Seville", "Nairobi", "Dublin", "Leeds", "Bremen", "Perth", "Quito", "Tampa"]  # fmt: skip
_ASKED_OF_TOWN = ["Best museums in {}", "cheap hostels in {}", "How do I get from the airport to {}?", "three days in {} with children", "A watercolour skyline of {}"]  # fmt: skip
_PEOPLE = ["Marie Curie", "Alan Turing", "Frida Kahlo", "Nikola Tesla", "Ada Lovelace", "Isaac Newton", "Rosa Parks", "Amelia Earhart", "Leonardo da Vinci", "Niels Bohr"]  # fmt: skip
_ASKED_OF_PEOPLE = [
    "When was {} born?",
    "What is {} famous for?",
    "Write a short biography of {}",
    "Name a book about {}",
]
_GOODS = ["{} cotton t-shirt with round neck", "{} leather handbag with gold buckle", "Women's {} running shoes", "Ceramic mug, {}, 300 ml", "{} velvet sofa with wooden legs", "Knitted {} scarf"]  # fmt: skip
_SHADES = [
    "red",
    "blue",
    "green",
    "yellow",
    "black",
    "white",
    "purple",
    "orange",
    "grey",
    "pink",
    "beige",
    "turquoise",
    "brown",
    "navy",
]
_STUFFS = ["leather", "cotton", "silk", "wool", "linen", "denim", "velvet", "polyester", "wooden", "bamboo", "steel", "glass", "plastic", "marble"]  # fmt: skip
_GOODS_OF = [
    "A handmade {} box on a table",
    "{} jacket for autumn evenings",
    "Modern {} lamp for the living room",
    "{} phone case, slim",
]
_TONGUES = [
    "Spanish",
    "German",
    "Italian",
    "Korean",
    "Swedish",
    "Arabic",
    "Hindi",
    "Turkish",
    "Danish",
    "Latin",
    "Thai",
    "Finnish",
]
_SAID = [
    "Translate 'good morning' into {}",
    "How do you say thank you in {}?",
    "Write a birthday wish in {}",
    "numbers from one to ten in {}",
]

_OPPOSED = """
increase decrease|How can I {} my blood pressure?
buy sell|When is the best time to {} shares?
import export|documents needed to {} coffee
before after|Should I stretch {} running?
male female|average life span of a {} lion
small large|A {} wooden dining table
hot cold|a {} drink for the afternoon
open close|How do I {} a savings plan?
enable disable|how to {} cookies in a browser
upload download|How do I {} a folder with scp?
left right|Draw an arrow that points to the {}
early late|Is it better to exercise {} in the day?
cheap expensive|{} restaurants near the harbour
indoor outdoor|{} games for a birthday party
add remove|How do I {} a user from a group?
accept reject|Write a letter to {} a job offer
lend borrow|Is it wise to {} money to a friend?
summer winter|{} clothes for a toddler
morning evening|a {} routine for students
north south|What lies to the {} of the Alps?
maximum minimum|the {} speed on a motorway
highest lowest|the {} point in Asia
oldest youngest|Who was the {} president?
advantages disadvantages|{} of working from home
gain lose|a diet to {} weight fast
encrypt decrypt|How do I {} a file with openssl?
install uninstall|How do I {} docker on a laptop?
start stop|How do I {} the nginx service?
lock unlock|How do I {} the screen rotation?
arrive depart|When do the ferries {}?
hire fire|How do I {} an employee in a small firm?
public private|Make a {} repository
strong weak|signs of a {} immune system
wet dry|products for {} hair
thick thin|wallpaper for {} walls
long short|Write a {} poem about autumn
heavy light|a {} blanket for the bed
positive negative|Write a {} review of a hotel
inside outside|plants that grow {} the house
above below|temperatures {} zero
top bottom|the {} of the ocean
first last|the {} emperor of Rome
husband wife|a gift for my {}
father mother|a poem for a {}
king queen|a portrait of a {}
boy girl|names for a baby {}
cat dog|food for an old {}
credit debit|what is a {} card
deposit withdraw|How can I {} cash?
bigger smaller|make the picture {}
ascending descending|sort a list in {} order in sql
horizontal vertical|draw a {} line
fast slow|{} songs for a wedding
sweet sour|a {} sauce for noodles
happy sad|a {} song
rich poor|life in a {} country
tighten loosen|How do I {} a bicycle chain?
freeze thaw|How do I {} bread?
inhale exhale|should I {} when I lift a weight
sunrise sunset|a photo of a {} by the sea
ancient modern|{} art in five sentences
rural urban|growing up in a {} area
theory practice|music {} for children
profit loss|How do I calculate a {}?
employer employee|rights of an {} in a strike
landlord tenant|duties of a {} in winter
teacher student|a speech by a {}
victory defeat|a story of a {}
birth death|the {} of Mozart
attack defend|How do I {} in chess?
forwards backwards|Drive {} with a trailer
push pull|How do I {} a branch in git?
asleep awake|How do I stay {}?
empty full|what does an {} battery look like
optimist pessimist|the life of an {}
introvert extrovert|jobs for an {}
predator prey|Is the heron a {}?
guest host|manners of a {} at dinner
entrance exit|sign for the {} of a zoo
arrival departure|time of {} of the night ferry
amateur professional|cameras for {} photographers
vowel consonant|How often is each {} used in English?
numerator denominator|What is the {} of a fraction?
latitude longitude|What is the {} of Lisbon?
hardware software|the latest {} for musicians
frontend backend|questions for a {} developer
loud quiet|a {} dishwasher
bright dim|a {} bulb
generous stingy|a tale of a {} king
polite rude|Write a {} reply to a neighbour
clockwise counterclockwise|Turn the picture {}
inner outer|the {} planets
overweight underweight|Is my dog {}?
overcooked undercooked|How do I rescue {} rice?
upstairs downstairs|the flat {}
upstream downstream|Do salmon swim {}?
prefix suffix|list of words with the {} 'ation'
flexible rigid|a {} pipe for the garden
inflate deflate|How do I {} an air bed?
mute unmute|How do I {} a channel?
follow unfollow|How can I {} a page?
sunny cloudy|a {} day at the lake
convex concave|What is a {} lens for?
asset liability|Is a car an {}?
lossless lossy|Which {} audio format is best?
import export|How do I {} contacts?
synonym antonym|a {} of 'brave'
carnivore herbivore|Which {} is the largest?
winner loser|an interview with the {}
sender receiver|the address of the {}
ceiling floor|paint for a {}
freshwater saltwater|{} fish for beginners
nocturnal diurnal|Which owls are {}?
solo duet|songs for a {}
""".strip()

_UNSEEN = """
daughter-in-law son-in-law|a present for my {}
vertical diagonal|{} stripes for a wall
dawn noon|a photo of the harbour at {}
courage fear|a quote about {}
arrogant humble|What makes people {}?
crispy soggy|Why are my fries {}?
stereo mono|Is this record {}?
debut finale|a review of the {}
ally enemy|Who was the {} of Sparta?
novel biography|Recommend a {} for the train
heaven hell|a painting of {}
export reimport|How do I {} my playlist?
opaque translucent|an {} glass for a door
landing takeoff|Which {} is harder in fog?
gravel sand|How much {} does a path need?
wholesale retail|{} margins for flowers
deficit surplus|What is a trade {}?
inhabited abandoned|an {} island
freelance salaried|taxes for {} designers
comedy tragedy|Name a {} by Shakespeare
liquid solid|a {} soap
lowlands highlands|weather of the Scottish {}
praise blame|Who should get the {}?
minimise maximise|How do I {} waste heat?
mortal immortal|a tale of an {} king
tailwind headwind|cycling with a {}
ebb flood|When is the {} tide in Brest?
shorten lengthen|How do I {} a skirt?
moisturise exfoliate|How often should I {}?
underground overground|an {} line in London
squat lunge|How do I do a {}?
vein artery|Where is the widest {}?
pessimistic optimistic|an {} forecast
sunrise sunset|{} in Cardiff in May
exterior interior|paint for {} walls
misspelled correct|a {} word
bachelor master|a {} degree in history
even uneven|an {} floor
gains losses|How are stock {} taxed?
mumble shout|Why do actors {}?
""".strip()
"""Written after the lists were closed; not one of them was mended after it."""

_TURNED = [
    "convert {} to {}",
    "How do I migrate from {} to {}?",
    "Is {} better than {}?",
    "Why did {} overtake {}?",
    "translate from {} to {}",
    "export {} data into {}",
    "{} before {} or not?",
]
_TURNABLE = ["markdown", "latex", "json", "yaml", "postgres", "mysql", "react", "svelte", "excel", "numbers", "fortran", "julia", "slack", "teams"]  # fmt: skip

_CODES = ["What does error {} mean?", "status of parcel {}", "spare part {} for a dishwasher", "Explain CVE {}", "open ticket {}", "specs of model {}"]  # fmt: skip
_TEMPLATES = [
    "You are a helpful shop assistant. Answer in a friendly tone, never more than two sentences, and always end with a question. The customer asks about: {}",
    "Classify the sentiment of the following product review as positive, neutral or negative and reply with one word only. Review: {}",
    "Translate the following text into French. Keep names as they are. Text: {}",
    "Extract the total amount and the date from this invoice and reply in JSON. Invoice: {}",
    "Write a product caption of at most 20 words for a web shop. Product: {}",
]
_PAYLOADS = [
    "the blue kettle whistles too quietly",
    "order 5512, total 83.20, paid on 4 May",
    "order 5513, total 12.99, paid on 9 May",
    "Anna met Tom at the station",
    "Tom met Clara at the harbour",
    "arrived broken and nobody answered my mails",
    "arrived early and works like a charm",
    "garden hose, 25 m, with brass nozzle",
    "garden hose, 15 m, with plastic nozzle",
    "men's rain jacket, size M",
    "women's rain jacket, size M",
    "how long the red boots will be out of stock",
    "whether the black boots run small",
]

_SAME = [
    ("How do I reset my router?", "How can I reset my router?"),
    ("What is the capital of Norway?", "what's the capital city of Norway"),
    ("How many planets are there in the solar system?", "How many planets does the solar system have?"),
    ("best way to learn the guitar", "What is the best way to learn guitar?"),
    ("Explain photosynthesis to a child", "Explain photosynthesis as if I were a child"),
    ("How do I boil an egg?", "how to boil an egg"),
    ("Why is the sky blue?", "What makes the sky look blue?"),
    ("tips for a job interview", "Give me some tips for job interviews"),
    ("Who wrote Hamlet?", "Who is the author of Hamlet?"),
    ("A red cotton dress on a white background", "Red dress made of cotton, white background"),
    ("a wooden table with four legs", "Table made of wood with 4 legs"),
    ("How long should I cook pasta?", "How long does pasta need to cook?"),
    ("What are the symptoms of flu?", "Which symptoms does the flu cause?"),
    ("How do I delete my search history?", "How can I erase my search history?"),
    ("cheap flights to Rome", "low-cost flights to Rome"),
    ("What does HTTP stand for?", "What is the meaning of HTTP?"),
    ("How to tie a tie", "How do you tie a tie?"),
    ("I can't log in to the forum", "I am unable to log in to the forum"),
    ("bread recipe without yeast", "yeast-free bread recipe"),
    ("10 percent of 250", "What is 10% of 250?"),
    ("Ideas for a birthday present for a ten year old", "Birthday gift ideas for a 10-year-old"),
    ("How do vaccines work?", "In what way do vaccines work?"),
    ("Write a haiku about rain", "Please write a haiku about the rain."),
    (
        "Difference between a crocodile and an alligator",
        "What's the difference between alligators and crocodiles?",
    ),
    ("Is coffee bad for you?", "Is coffee bad for your health?"),
    ("What causes thunder?", "What is the cause of thunder?"),
    ("how tall is the eiffel tower", "What is the height of the Eiffel Tower?"),
    ("distance from Berlin to Munich", "How far is it from Berlin to Munich?"),
    ("Leather wallet for men, brown", "Brown leather men's wallet"),
    ("A cat sleeping on a sofa", "a cat asleep on a couch"),
    ("How do I remove a red wine stain?", "How can I get rid of a red wine stain?"),
    ("What is machine learning?", "Can you explain what machine learning is?"),
    ("meaning of the word serendipity", 'What does "serendipity" mean?'),
    ("How can I improve my handwriting?", "What can I do to improve my handwriting?"),
    ("Why do we dream?", "Why do people dream?"),
    ("What time zone is Lisbon in?", "Which time zone is used in Lisbon?"),
    ("Who invented the telephone?", "Who was the inventor of the telephone?"),
    ("healthy snacks for kids", "What are some healthy snacks for children?"),
    ("How do I install Python on Windows?", "Installing Python on Windows - how?"),
    ("the speed of light", "How fast does light travel?"),
    ("A man riding a bicycle in the rain", "Man riding a bike on a rainy day"),
    ("Three ways to save energy at home", "3 ways to save energy in the house"),
    ("Does chocolate contain caffeine?", "Is there caffeine in chocolate?"),
    ("What's the boiling point of water?", "At what temperature does water boil?"),
    ("how do i change a flat tyre", "How do I change a flat tyre?"),
    ("Summarize the plot of Moby-Dick", "Give me a summary of the plot of Moby Dick"),
    ("Should I not eat before surgery?", "Shouldn't I eat before a surgery?"),
    ("Blue denim jacket with buttons", "Denim jacket, blue, buttoned"),
    ("What do pandas eat?", "What is a panda's diet?"),
    ("Stainless steel water bottle, 1 litre", "1 liter water bottle made of stainless steel"),
    ("What is the US constitution?", "What is the constitution of the United States?"),
    ("Population of the UK", "How many people live in the United Kingdom?"),
    ("The second world war in brief", "A brief summary of World War II"),
    ("Which is the largest ocean?", "What is the biggest ocean in the world?"),
    ("Can dogs eat grapes?", "Is it ok for dogs to eat grapes?"),
    ("best laptop for students", "Which laptop is best for students?"),
    ("How do magnets work?", "how does a magnet work"),
    ("Fluffy white rug for the bedroom", "White fluffy bedroom rug"),
    ("What are black holes?", "what is a black hole"),
    ("I need a name for my cafe", "Suggest a name for my café"),
]


def _of(forms: list[str], choices: list[str], rng: random.Random) -> list[Pair]:
    made = []
    for _ in range(COUNT):
        one, other = rng.sample(choices, 2)
        form = rng.choice(forms)
        made.append((form.format(one), form.format(other)))
    return made


def numbers(rng: random.Random) -> list[Pair]:
    """Digits, words, years, ranges, units."""
    figures = [str(rng.choice([rng.randrange(2, 30), rng.randrange(30, 3000)])) for _ in range(400)]
    figures = list(dict.fromkeys(figures))
    made = _of(_COUNTED, figures, rng) + _of(_COUNTED, _SPELT, rng)
    made += _of(_DATED, [str(year) for year in range(12, 29)], rng)
    for _ in range(COUNT):
        form = rng.choice(_RANGES)
        low, high, other = sorted(rng.sample(range(2, 90), 3))
        made.append(
            rng.choice(
                [
                    (form.format(low, high), form.format(low, other)),
                    (form.format(low, other), form.format(high, other)),
                ]
            )
        )
    return made + _UNITS


def negations(rng: random.Random) -> list[Pair]:
    """Each sentence about each creature, once with and once without."""
    return [(yes.format(who), no.format(who)) for yes, no in _AFFIRMED for who in rng.sample(_CREATURES, 15)]


def entities(rng: random.Random) -> list[Pair]:
    """Countries, towns, people, languages."""
    made = (
        _of(_ASKED_OF, _LANDS, rng) + _of(_ASKED_OF_TOWN, _TOWNS, rng) + _of(_ASKED_OF_PEOPLE, _PEOPLE, rng)
    )
    return made + _of(_SAID, _TONGUES, rng)


def captions(rng: random.Random) -> list[Pair]:
    """Colours and materials of goods, in lower case."""
    return _of(_GOODS, _SHADES, rng) + _of(_GOODS_OF, _STUFFS, rng)


def antonyms(rng: random.Random) -> list[Pair]:
    """Seventy and more pairs, each in a sentence of its own, in both cases of the first letter."""
    return _opposites(_OPPOSED)


def unseen_antonyms(rng: random.Random) -> list[Pair]:
    """As above; no list was touched after these were written."""
    return _opposites(_UNSEEN)


def _opposites(lines: str) -> list[Pair]:
    made = []
    for line in lines.split("\n"):
        words, form = line.split("|")
        one, other = words.split(" ")
        made.append((form.format(one), form.format(other)))
        made.append((form.format(other).lower(), form.format(one)))
    return made


def orders(rng: random.Random) -> list[Pair]:
    """The same words the other way round."""
    made = []
    for _ in range(COUNT):
        one, other = rng.sample(_TURNABLE, 2)
        form = rng.choice(_TURNED)
        made.append((form.format(one, other), form.format(other, one)))
    return made


def codes(rng: random.Random) -> list[Pair]:
    """Ids that differ in one sign."""
    made = []
    for _ in range(COUNT):
        letters = "".join(rng.choices("ABCDEFGHKLMNPRSTXYZ", k=3))
        figures = f"{rng.randrange(1000, 9999)}"
        one = rng.choice(
            [
                f"{letters}-{figures}",
                f"{letters}{figures}",
                f"{letters[0]}{figures}{letters[1]}",
                f"{figures}-{letters}-{figures[:2]}",
            ]
        )
        at = rng.randrange(len(one))
        other = (
            one[:at]
            + rng.choice([c for c in ("23456789" if one[at].isdigit() else "BCDFGJQVW") if c != one[at]])
            + one[at + 1 :]
        )
        if one[at] == "-":
            continue
        form = rng.choice(_CODES)
        made.append((form.format(one), form.format(other)))
    return made


def templates(rng: random.Random) -> list[Pair]:
    """A long instruction that is always the same, and a short part that is not (LemonData: 198 bodies, one cached answer)."""
    return _of(_TEMPLATES, _PAYLOADS, rng)


def same(rng: random.Random) -> list[Pair]:
    """They mean the same: what is vetoed of these is a hit lost."""
    return _SAME


CLASSES: dict[str, Callable[[random.Random], list[Pair]]] = {
    "numbers": numbers,
    "negations": negations,
    "entities": entities,
    "captions": captions,
    "antonyms": antonyms,
    "unseen_antonyms": unseen_antonyms,
    "orders": orders,
    "codes": codes,
    "templates": templates,
    "same": same,
}
