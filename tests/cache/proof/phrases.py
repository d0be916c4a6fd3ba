"""Two lists of phrases without a common item: thresholds are calibrated on the one, and scored on the other."""

from msgspec import Struct

Same = tuple[str, ...]
"""Ways to say one thing."""


class Phrases(Struct, frozen=True):
    """What sentences are made of. In the lists of ``Same`` each item is one meaning in several words."""

    items: tuple[Same, ...]
    looks: tuple[Same, ...]
    places: tuple[Same, ...]
    tasks: tuple[Same, ...]
    faults: tuple[Same, ...]
    lands: tuple[str, ...]
    facts: tuple[Same, ...]
    topics: tuple[Same, ...]
    counts: tuple[int, ...]
    units: tuple[str, ...]
    reviews: tuple[str, ...]


CALIBRATION = Phrases(
    items=(
        ("sofa", "couch"), ("dining chair", "kitchen chair"), ("bicycle", "bike"), ("backpack", "rucksack"), ("trainers", "sneakers"),
        ("wrist watch", "watch"), ("table lamp", "desk lamp"), ("teapot", "tea pot"), ("rain jacket", "raincoat"), ("laptop", "notebook computer"),
        ("sun hat", "straw hat"), ("armchair", "easy chair"), ("bookcase", "bookshelf"), ("suitcase", "travel case"), ("umbrella", "brolly"),
        ("motorcycle", "motorbike"), ("carpet", "rug"), ("flower vase", "vase"), ("coffee mug", "coffee cup"), ("bracelet", "bangle"),
    ),
    looks=(
        ("red",), ("dark blue", "navy"), ("green",), ("leather", "leathern"), ("wooden", "wood"), ("striped", "stripy"), ("yellow",),
        ("tiny", "very small"), ("huge", "very large"), ("antique", "vintage"), ("brand-new", "brand new"), ("shiny", "glossy"),
    ),
    places=(
        ("on a white background", "against a white background"), ("by the window", "next to the window"), ("on the beach", "at the beach"),
        ("in a forest", "in the woods"), ("on a city street", "on a street in a city"), ("in a living room", "in the living room"),
        ("on a marble table", "on top of a marble table"), ("in the snow", "surrounded by snow"), ("in a garage", "inside a garage"),
        ("under a tree", "beneath a tree"),
    ),
    tasks=(
        ("reset my password", "change my password", "get a new password"), ("cancel my order", "call off my order"), ("track my parcel", "see where my package is"),
        ("boil an egg", "cook a boiled egg"), ("remove a coffee stain from a shirt", "get coffee out of a shirt"), ("tie a tie", "knot a necktie"),
        ("bake sourdough bread", "make bread with sourdough"), ("fix a flat tyre", "repair a punctured tyre"), ("learn to swim as an adult", "learn swimming as a grown-up"),
        ("merge two PDF files", "combine two PDFs into one"), ("sharpen a kitchen knife", "make a kitchen knife sharp"), ("prune a rose bush", "cut back roses"),
        ("write a cover letter", "compose a covering letter"), ("clean a cast iron pan", "care for a cast-iron skillet"), ("unclog a sink", "clear a blocked sink"),
        ("freeze my bank card", "block my bank card"), ("update my billing address", "change the address on my bills"), ("export my contacts", "save my contacts to a file"),
    ),
    faults=(
        ("upload a photo", "add a picture"), ("log in to the portal", "sign in to the portal"), ("open the attachment", "view the attached file"),
        ("print in colour", "get colour prints"), ("connect to the wireless network", "join the wifi"), ("hear any sound", "get any audio"),
        ("redeem my voucher", "use my gift code"), ("see my invoices", "find my bills"),
    ),
    lands=("France", "Japan", "Brazil", "Kenya", "Norway", "Canada", "Egypt", "Vietnam", "Chile", "Poland", "Greece", "Nepal"),
    facts=(
        ("capital", "capital city"), ("official language", "national language"), ("highest mountain", "tallest mountain"), ("currency", "money"),
        ("national dish", "most typical dish"), ("longest river",),
    ),
    topics=(
        ("coffee", "coffee beans"), ("electric cars", "battery-powered cars"), ("healthy breakfasts", "a healthy breakfast"), ("houseplants", "indoor plants"),
        ("running shoes", "shoes for running"), ("remote work", "working from home"), ("budget travel", "cheap travel"), ("home brewing", "brewing beer at home"),
        ("birthday parties for children", "children's birthday parties"), ("garden birds", "birds in the garden"),
    ),
    counts=(3, 5, 7, 10, 12),
    units=("miles", "kilometres", "pounds", "kilograms", "Celsius", "Fahrenheit", "litres", "gallons"),
    reviews=(
        "The hotel was clean and the staff were kind.", "The hotel was dirty and the staff were rude.", "My parcel came two weeks late.",
        "I love this phone, the battery lasts for days.", "This phone is a joke, the battery dies at noon.", "The soup was cold and the waiter did not care.",
        "A lovely evening, we will come back soon.", "The film drags on, but the ending is superb.", "Great price, poor quality.", "The seams came apart after one wash.",
        "The guide knew everything about the castle.", "We waited an hour for a table.", "It fits well and looks even better.", "The room smelled of smoke.",
    ),
)  # fmt: skip

SCORING = Phrases(
    items=(
        ("pram", "baby carriage"), ("cupboard", "cabinet"), ("scooter", "kick scooter"), ("handbag", "purse"), ("boots", "ankle boots"),
        ("necklace", "neck chain"), ("floor lamp", "standing lamp"), ("frying pan", "skillet"), ("sweater", "pullover"), ("tablet", "tablet computer"),
        ("woollen cap", "beanie"), ("bar stool", "bar chair"), ("wardrobe", "clothes closet"), ("wallet", "billfold"), ("sunglasses", "shades"),
        ("delivery van", "van"), ("curtain", "drape"), ("candle holder", "candlestick"), ("wine glass", "glass for wine"), ("earring", "ear stud"),
    ),
    looks=(
        ("black",), ("light grey", "pale grey"), ("orange",), ("velvet", "velvety"), ("metal", "metallic"), ("checked", "chequered"), ("purple",),
        ("narrow", "slim"), ("wide", "broad"), ("worn", "used"), ("folding", "foldable"), ("matt", "non-glossy"),
    ),
    places=(
        ("in a studio", "in a photo studio"), ("beside a fireplace", "near a fireplace"), ("in the mountains", "in a mountain landscape"),
        ("on a lawn", "on the grass"), ("in a shop window", "in the window of a shop"), ("in an office", "inside an office"),
        ("on a stone floor", "on a floor of stone"), ("in the rain", "on a rainy day"), ("in a cellar", "in a basement"),
        ("behind a fence", "at the back of a fence"),
    ),
    tasks=(
        ("delete my account", "close my account"), ("return a pair of shoes", "send back a pair of shoes"), ("book a seat", "reserve a seat"),
        ("poach a salmon", "cook salmon in water"), ("take rust off a bicycle chain", "get a bicycle chain free of rust"), ("fold a fitted sheet", "fold an elastic bed sheet"),
        ("knit a scarf", "make a knitted scarf"), ("change engine oil", "replace the oil of an engine"), ("meditate before sleeping", "do a meditation at bedtime"),
        ("resize an image", "change the size of a picture"), ("paint a wooden door", "give a wooden door a coat of paint"), ("grow tomatoes on a balcony", "raise balcony tomatoes"),
        ("prepare for a job interview", "get ready for a job interview"), ("descale a kettle", "remove limescale from a kettle"), ("bleed a radiator", "let air out of a radiator"),
        ("raise my credit limit", "get a higher credit limit"), ("pause my subscription", "put my subscription on hold"), ("import a spreadsheet", "load a spreadsheet"),
    ),
    faults=(
        ("download the report", "save the report"), ("pay by card", "use my card to pay"), ("hear the caller", "understand the caller"),
        ("scan a document", "make a scan"), ("pair my headphones", "connect my headphones"), ("receive text messages", "get SMS"),
        ("edit my profile", "change my profile"), ("find my booking", "see my reservation"),
    ),
    lands=("Spain", "India", "Peru", "Morocco", "Sweden", "Mexico", "Turkey", "Thailand", "Cuba", "Hungary", "Ireland", "Mongolia"),
    facts=(
        ("largest city", "biggest city"), ("national anthem", "anthem"), ("largest lake", "biggest lake"), ("national flower", "flower that stands for the nation"),
        ("most popular sport", "favourite sport"), ("oldest university",),
    ),
    topics=(
        ("green tea", "tea that is green"), ("solar panels", "photovoltaic panels"), ("quick dinners", "fast dinners"), ("vegetable beds", "raised beds for vegetables"),
        ("hiking boots", "boots for hiking"), ("time management", "managing one's time"), ("train journeys", "travelling by train"), ("cheese making", "making cheese"),
        ("weddings in winter", "winter weddings"), ("stray cats", "cats without an owner"),
    ),
    counts=(2, 4, 6, 8, 20),
    units=("inches", "centimetres", "ounces", "grams", "knots", "metres per second", "acres", "hectares"),
    reviews=(
        "The flat was quiet and close to the station.", "The flat was loud and far from the station.", "The order never arrived.",
        "These headphones sound warm and clear.", "These headphones hiss all the time.", "The pizza was burnt and dry.",
        "What a wonderful concert, I was moved to tears.", "The book starts slowly, then one cannot put it down.", "Cheap, and one can tell.", "A button fell off on the first day.",
        "Our teacher was patient and funny.", "Nobody answered the telephone.", "The colour is just as in the picture.", "The pool was closed all week.",
    ),
)  # fmt: skip
