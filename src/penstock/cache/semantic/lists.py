"""Words that the guards know: sets of alternatives, negators, numbers, units. English, lower case.

A set has a name and alternatives, split by ``|``; an alternative is its synonyms, split by commas, the first being its name.
Two texts of which one has "increase" and the other "decrease" ask for different things; two that have "grow" and "increase"
may ask for the same. ``sets`` takes words as they stand; ``verbs`` and ``nouns`` add the usual endings. An underscore is a space.
"""

from collections.abc import Iterator

Members = tuple[tuple[str, str], ...]


def _listed(words: str) -> list[str]:
    return words.split()


def _same(word: str) -> Iterator[str]:
    yield word


VERBS = """
change: increase,raise,grow,rise,boost,gain,climb,improve | decrease,reduce,lower,decline,drop,lessen,shrink,cut,diminish,lose
trade: buy,purchase,acquire | sell
shipment: import | export
transfer: upload | download
crypt: encrypt,encipher | decrypt,decipher
coding: encode | decode
package: install | uninstall
enabling: enable,activate,turn_on,switch_on,power_on | disable,deactivate,turn_off,switch_off,power_off,shut_down
adding: add,insert,append | remove,delete,subtract,erase,uninstall
making: create,make | delete,destroy
opening: open,reopen | close,shut
starting: start,begin,launch,commence | stop,end,finish,halt,terminate,quit | pause,suspend
cancelling: cancel,terminate | renew,extend,reactivate | upgrade | downgrade
subscribing: subscribe | unsubscribe
locking: lock | unlock
following: follow | unfollow
blocking: block,ban | unblock,unban
allowing: allow,permit,let,grant | forbid,prohibit,deny,block,ban,disallow,prevent
accepting: accept,approve,agree | reject,decline,refuse,disapprove,disagree
win: win | lose
lending: lend,loan | borrow
banking: deposit | withdraw
push: push | pull
sending: send | receive,get
arriving: arrive,land | depart,leave
teaching: teach | learn,study
loving: love,like,adore | hate,dislike,detest
building: build,construct,assemble | demolish,dismantle,disassemble,tear_down
hiring: hire,recruit,employ | fire,dismiss,lay_off
joining: join,enter | leave,exit
merging: merge,combine,join | split,separate,divide
zipping: compress,zip | decompress,unzip,extract
heating: heat,warm | cool,chill | freeze | boil | melt
showing: show,display,reveal,unhide | hide,conceal
succeed: succeed,pass | fail
agree: agree | disagree
attack: attack | defend
marrying: marry | divorce
tighten: tighten | loosen
inflate: inflate | deflate
expand: expand | contract,collapse
include: include | exclude
connect: connect,attach | disconnect,detach
mount: mount | unmount
sign: log_in,login,sign_in | log_out,logout,sign_out,log_off | sign_up,register
zooming: zoom_in | zoom_out
opting: opt_in | opt_out
weigh: gain_weight | lose_weight
causing: cause | cure,treat,heal | prevent,avoid
renting: rent,lease | buy,purchase
task: translate | summarize,summarise,condense | rewrite,rephrase,paraphrase | proofread | classify,categorize | compare
"""

NOUNS = """
asking: advantage,benefit,pro,upside,strength | disadvantage,drawback,con,downside,weakness,risk
illness: cause | effect,consequence | symptom,sign | treatment,cure,remedy,therapy | side_effect | prevention
sex: man,gentleman,guy | woman,lady
child: boy | girl
parent: father,dad | mother,mom,mum
sibling: brother | sister
spouse: husband | wife
offspring: son | daughter
uncle: uncle | aunt
royal: king | queen | prince | princess
age: adult,grown-up | child,children,kid | baby,infant,newborn | toddler | teenager,teen | senior
deal: buyer,customer,purchaser | seller,vendor
job: employer | employee,worker
tenant: landlord | tenant
care: doctor,physician | nurse | patient | dentist
school: teacher,professor | student,pupil
term: hour | day | week | month | quarter | year | decade | century | minute
meal: breakfast | lunch | dinner,supper | brunch | dessert
daypart: morning | noon | afternoon | evening | midnight
season: spring | summer | autumn,fall | winter
card: credit | debit | prepaid
account: checking_account,current_account | savings_account | investment_account,brokerage_account | loan,mortgage
row: row | column
cs: client | server
io: input | output
place: indoor | outdoor
animal: cat,kitten | dog,puppy | horse | cow,cattle | pig | sheep | goat | chicken | rabbit | hamster | parrot | fish | snake
drink: coffee | tea | milk | beer | wine | juice | vodka | whiskey,whisky
meat: beef | pork | lamb | turkey | duck | salmon | tuna | shrimp,prawn | tofu
fruit: apple | banana | orange | lemon | lime | grape | mango | pineapple | strawberry | blueberry | raspberry | peach | pear | cherry
vegetable: potato | tomato | carrot | onion | garlic | cucumber | spinach | broccoli | cabbage
instrument: guitar | piano | violin | drum | flute | cello | trumpet | saxophone
sport: football,soccer | basketball | baseball | tennis | golf | cricket | hockey | rugby | volleyball | swimming | boxing
garment: shirt,blouse | t-shirt,tshirt,tee | dress,gown | skirt | trousers,pants | jeans | shorts | jacket,blazer | coat,parka | sweater,jumper,pullover | hoodie | suit | legging | sock | bra | pyjamas,pajamas | swimsuit,bikini | vest | cardigan
footwear: sneaker,trainer | boot | sandal | loafer | heel,pump | slipper | flip-flop
accessory: hat,cap,beanie | scarf | glove | belt | tie | watch | sunglasses | umbrella
bag: backpack,rucksack | handbag,purse,tote | suitcase,luggage | wallet
jewel: necklace | bracelet | earring | ring | brooch
furniture: chair,armchair | sofa,couch | table | desk | bed | wardrobe,closet | bookshelf,bookcase | stool | bench | cabinet | lamp | rug,carpet | curtain | mirror | mattress | pillow
kitchen: mug,cup | plate | bowl | fork | knife | spoon | pan | pot | kettle | blender | toaster | bottle | jug
device: laptop,notebook_computer | desktop | tablet | smartphone,phone,mobile | smartwatch | camera | headphone,earphone | earbud | speaker | keyboard | mouse | monitor | printer | router | charger | television,tv
vehicle: car | truck,lorry | motorcycle,motorbike | bicycle,bike | bus | train | plane,airplane | boat | ship | scooter | helicopter | tram
tool: hammer | screwdriver | drill | saw | wrench,spanner | plier
relative: niece | nephew | grandfather | grandmother
shape: circle | square | triangle | rectangle | oval | hexagon
planet: mercury | venus | earth | mars | jupiter | saturn | uranus | neptune | pluto
"""

SETS = """
direction: north,northern | south,southern | east,eastern | west,western
side: left | right
vertical: top,upper | bottom,lower | middle,center
updown: up,upward,upwards | down,downward,downwards
onoff: on | off
order: before,prior | after,following
past: past,previous,last | next,upcoming,future
rank: first | last
inside: inside,interior,internal | outside,exterior,external
above: above,over | below,beneath,underneath,under
size: small,smaller,smallest,tiny,little,mini | large,larger,largest,big,bigger,biggest,huge,giant | medium
height: tall,taller,tallest,high,higher,highest | short,shorter,shortest,low,lower,lowest
length: long,longer,longest | short,shorter,shortest
amount: more | less,fewer
superlative: most | least,fewest
extreme: maximum,max,maximal,highest,largest | minimum,min,minimal,lowest,smallest | average,mean,median
quality: good,better,best,great,top | bad,worse,worst,poor
speed: fast,faster,fastest,quick,quicker,quickest,rapid | slow,slower,slowest
price: cheap,cheaper,cheapest,affordable,inexpensive | expensive,pricey,costly,luxury
paid: free | paid
temperature: hot,hotter,hottest,warm | cold,colder,coldest,cool
weight: heavy,heavier,heaviest | light,lighter,lightest,lightweight
shade: dark,darker,darkest | light,lighter,lightest,pale,bright
ease: easy,easier,easiest,simple,simpler,simplest | hard,harder,hardest,difficult
touch: hard,firm | soft
age_of: old,older,oldest,ancient,vintage | new,newer,newest,modern,recent
youth: old,older,oldest,elderly | young,younger,youngest
strength: strong,stronger,strongest | weak,weaker,weakest
wealth: rich,richer,richest,wealthy | poor,poorer,poorest
wet: wet,moist | dry
full: full | empty
wide: wide,wider,widest | narrow,narrower,narrowest
thick: thick,thicker,thickest | thin,thinner,thinnest
deep: deep,deeper,deepest | shallow
near: near,nearest,close,closest,nearby | far,farthest,distant
early: early,earlier,earliest | late,later,latest
public: public | private
legal: legal,lawful | illegal,unlawful
sign_of: positive | negative
truth: true | false
parity: odd | even
sort: ascending | descending
axis: horizontal,horizontally | vertical,vertically
sync: synchronous,sync | asynchronous,async
wired: wired | wireless
digital: digital | analog,analogue
single: single | married | divorced
gender: male,masculine | female,feminine | unisex
menswear: men,men's,mens | women,women's,womens,ladies | kids,children,boys,girls
sleeve: long-sleeve,long_sleeve,long_sleeved | short-sleeve,short_sleeve,short_sleeved | sleeveless
often: always | never | sometimes | rarely,seldom
quantity: all,every,each | none | some
frequency: hourly | daily | weekly | biweekly | monthly | quarterly | yearly,annual,annually
matter: solid | liquid | gas
hand: buy,sell | rent
domestic: domestic | international,foreign,overseas
urban: urban | rural
acid: acid,acidic | alkaline,basic
raw: raw | cooked | baked | fried | grilled | boiled | steamed | roasted
diet: vegan | vegetarian | halal | kosher | keto
beginner: beginner,novice,introductory | intermediate | advanced,expert
formal: formal | informal,casual
tense: past_tense | present_tense | future_tense
arithmetic: plus,sum | minus,difference | times,multiplied,product | divided,quotient
asked: who | when,what_year,what_date,what_time | where | why,how_come | how_many | how_much | how_long | how_far | how_old | how_often
colour: red,scarlet,crimson | blue | navy | green | yellow | orange | purple,violet | pink | brown | black | white | grey,gray | beige,cream | gold,golden | silver | turquoise,teal | maroon,burgundy
material: cotton | wool,woollen | silk | linen | leather | denim | polyester | nylon | velvet | cashmere | suede | wood,wooden | oak | pine | metal,metallic | steel | iron | aluminium,aluminum | copper | brass | gold | silver | platinum | plastic | glass | ceramic | porcelain | marble | bamboo | rubber | paper | stone | concrete
pattern: striped,stripes | checked,checkered,plaid | floral | polka_dot | plain
format: json | xml | yaml | csv | html | markdown | pdf | sql
month: january,jan | february,feb | march | april,apr | may | june,jun | july,jul | august,aug | september,sept,sep | october,oct | november,nov | december,dec
weekday: monday | tuesday | wednesday | thursday | friday | saturday | sunday
currency: usd,dollar,dollars | eur,euro,euros | gbp,pound_sterling | jpy,yen | cny,yuan,rmb | inr,rupee,rupees | chf | cad | aud | bitcoin,btc | ethereum,eth | rub,ruble,rubles | krw | mxn,peso,pesos
speech: english | spanish | french | german | italian | portuguese | dutch | russian | chinese,mandarin | cantonese | japanese | korean | arabic | hindi | turkish | polish | swedish | norwegian | danish | finnish | greek | hebrew | thai | vietnamese | ukrainian | czech | hungarian | romanian | latin | urdu | bengali | tamil | swahili | indonesian | malay | persian,farsi | bulgarian | croatian | serbian
code: python | java | javascript,js | typescript | c++,cpp | c#,csharp | golang | rust | ruby | php | swift | kotlin | scala | perl | haskell | matlab | bash | powershell | r
os: windows | mac,macos,osx | linux,ubuntu | ios,iphone,ipad | android
company: google | apple | microsoft | amazon | facebook,meta | netflix | tesla | samsung | sony | nike | adidas | puma | toyota | honda | ford | bmw | mercedes | audi | intel | amd | nvidia | paypal | visa | mastercard | uber | lyft | airbnb | spotify | twitter | instagram | whatsapp | telegram | tiktok | youtube | linkedin | pepsi | coca-cola,coke | oracle | ibm | openai | anthropic
database: mysql | postgresql,postgres | sqlite | mongodb | redis | mariadb
framework: react | angular | vue | django | flask | spring_boot | laravel | pytorch | tensorflow
faith: christian,christianity | muslim,islam,islamic | jewish,judaism | hindu,hinduism | buddhist,buddhism | catholic | protestant
continent: africa,african | asia,asian | europe,european | north_america | south_america | australia,australian | antarctica
bloc: eu,european_union | us,usa,united_states,america,american | uk,united_kingdom,britain,british | un,united_nations | nato | uae,united_arab_emirates
"""

COUNTRIES = """
us,usa,united_states,america,american,americans | uk,united_kingdom,britain,british | england,english | scotland,scottish | wales,welsh | ireland,irish |
france,french | germany,german | italy,italian | spain,spanish | portugal,portuguese | netherlands,dutch,holland | belgium,belgian |
switzerland,swiss | austria,austrian | sweden,swedish | norway,norwegian | denmark,danish | finland,finnish | iceland,icelandic |
poland,polish | czechia,czech_republic,czech | slovakia,slovak | hungary,hungarian | romania,romanian | bulgaria,bulgarian | greece,greek |
turkey,turkish | russia,russian | ukraine,ukrainian | belarus | serbia,serbian | croatia,croatian | slovenia | bosnia | albania | estonia | latvia | lithuania |
china,chinese | taiwan,taiwanese | japan,japanese | south_korea,korea,korean | north_korea | india,indian | pakistan,pakistani | bangladesh |
sri_lanka | nepal | vietnam,vietnamese | thailand,thai | malaysia,malaysian | singapore | indonesia,indonesian | philippines,filipino | cambodia | myanmar |
australia,australian,aussie | new_zealand | canada,canadian | mexico,mexican | brazil,brazilian | argentina,argentinian | chile,chilean | peru,peruvian |
colombia,colombian | venezuela | ecuador | bolivia | uruguay | paraguay | cuba,cuban | jamaica | haiti | panama | costa_rica | guatemala |
egypt,egyptian | morocco,moroccan | algeria | tunisia | libya | sudan | ethiopia | kenya,kenyan | tanzania | uganda | nigeria,nigerian | niger | ghana |
south_africa | zimbabwe | zambia | angola | senegal | cameroon | rwanda | madagascar | israel,israeli | palestine | jordan | lebanon | syria,syrian |
iraq,iraqi | iran,iranian | saudi_arabia,saudi | kuwait | qatar | oman | yemen | uae,united_arab_emirates | afghanistan | kazakhstan | georgia | armenia | azerbaijan |
eu,european_union
"""

CITIES = """
london | paris | berlin | munich | hamburg | frankfurt | cologne | rome | milan | naples | venice | florence | madrid | barcelona | seville | lisbon | porto |
amsterdam | rotterdam | brussels | antwerp | vienna | zurich | geneva | stockholm | oslo | copenhagen | helsinki | reykjavik | dublin | edinburgh | glasgow |
manchester | liverpool | birmingham | warsaw | krakow | prague | budapest | bucharest | sofia | athens | istanbul | ankara | moscow | kyiv,kiev | minsk |
new_york,new_york_city,nyc | los_angeles | chicago | houston | phoenix | philadelphia | san_antonio | san_diego | dallas | san_jose | austin | boston |
seattle | denver | miami | atlanta | detroit | las_vegas | portland | san_francisco | washington | orlando | toronto | vancouver | montreal | ottawa | calgary |
mexico_city | havana | bogota | lima | santiago | buenos_aires | rio_de_janeiro,rio | sao_paulo | cairo | casablanca | lagos | nairobi | johannesburg |
cape_town | dubai | abu_dhabi | doha | riyadh | tehran | baghdad | jerusalem | tel_aviv | mumbai,bombay | delhi,new_delhi | bangalore,bengaluru | chennai | kolkata |
hyderabad | karachi | lahore | dhaka | kathmandu | bangkok | hanoi | ho_chi_minh_city,saigon | singapore | kuala_lumpur | jakarta | manila | hong_kong | shanghai |
beijing | shenzhen | guangzhou | taipei | seoul | busan | tokyo | osaka | kyoto | sydney | melbourne | brisbane | perth | auckland | wellington
"""

STATES = """
california | texas | florida | new_york_state | illinois | pennsylvania | ohio | georgia | north_carolina | michigan | new_jersey | virginia | washington_state |
arizona | massachusetts | tennessee | indiana | missouri | maryland | wisconsin | colorado | minnesota | south_carolina | alabama | louisiana | kentucky |
oregon | oklahoma | connecticut | utah | iowa | nevada | arkansas | mississippi | kansas | new_mexico | nebraska | idaho | hawaii | alaska | montana
"""

NEGATORS = frozenset(
    _listed(
        "not never without no none nobody nothing neither nowhere cannot cant dont doesnt didnt isnt arent wasnt werent wont wouldnt "
        "shouldnt couldnt hasnt havent aint except excluding hardly barely unable impossible non un lack lacks lacking unless minus"
    )
)
NO_NEGATION = ("not only", "or not", "no matter", "no doubt", "why not", "no. ", "if not", "yes or no")
"""Phrases whose negator negates nothing."""
ONES = {
    word: value
    for value, word in enumerate(
        _listed(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
            "nineteen"
        )
    )
}
TENS = {
    word: 10 * value
    for value, word in enumerate(_listed("twenty thirty forty fifty sixty seventy eighty ninety"), start=2)
}
SCALES = {
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
}
ORDINALS = {
    word: value
    for value, word in enumerate(
        _listed("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"), start=1
    )
}
ROMAN = {
    "ii": 2,
    "iii": 3,
    "iv": 4,
    "vi": 6,
    "vii": 7,
    "viii": 8,
    "ix": 9,
    "xi": 11,
    "xii": 12,
    "xiii": 13,
    "xiv": 14,
    "xv": 15,
    "xvi": 16,
}
OTHER_NUMBERS = {
    "half": 0.5,
    "twice": 2.0,
    "double": 2.0,
    "triple": 3.0,
    "thrice": 3.0,
    "once": 1.0,
    "pair": 2.0,
    "couple": 2.0,
}

_UNITS = """
% percent,percentage,pct
$ dollar,dollars,usd,buck,bucks
€ euro,euros,eur
£ pound,pounds,gbp,quid
¥ yen,jpy
kg kilogram,kilograms,kilo,kilos,kgs
g gram,grams
mg milligram,milligrams
lb lbs
oz ounce,ounces
t ton,tons,tonne,tonnes
km kilometer,kilometers,kilometre,kilometres,kms
m meter,meters,metre,metres
cm centimeter,centimeters,centimetre,centimetres
mm millimeter,millimeters,millimetre,millimetres
mi mile,miles
ft foot,feet
in inch,inches
yd yard,yards
l liter,liters,litre,litres
ml milliliter,milliliters,millilitre,millilitres
gal gallon,gallons
cup cups
tbsp tablespoon,tablespoons
tsp teaspoon,teaspoons
s sec,secs,second,seconds
ms millisecond,milliseconds
min mins,minute,minutes
h hr,hrs,hour,hours
day days
week weeks,wk
month months
year years,yr,yrs
am a.m
pm p.m
kb kilobyte,kilobytes
mb megabyte,megabytes
gb gigabyte,gigabytes,gigs
tb terabyte,terabytes
hz hertz
ghz gigahertz
mhz megahertz
w watt,watts
kw kilowatt,kilowatts
kwh kilowatt-hour
v volt,volts
mph
kph kmh
c celsius,°c,°
f fahrenheit,°f
k kelvin
px pixel,pixels
cal calorie,calories,kcal
degree degrees
"""
UNITS: dict[str, str] = {}
for _line in _UNITS.split("\n"):
    for _word in _line.replace(",", " ").split():
        UNITS[_word] = _line.split()[0]


def _verb(word: str) -> Iterator[str]:
    head, _, tail = word.partition("_")
    rest = f"_{tail}" if tail else ""
    yield word
    if head.endswith("e"):
        endings = (f"{head}s", f"{head}d", f"{head[:-1]}ing")
    elif head.endswith("y") and head[-2] not in "aeou":
        endings = (f"{head[:-1]}ies", f"{head[:-1]}ied", f"{head}ing")
    else:
        twice = head + head[-1]
        endings = (f"{head}s", f"{head}es", f"{head}ed", f"{head}ing", f"{twice}ed", f"{twice}ing")
    for ending in endings:
        yield ending + rest


def _noun(word: str) -> Iterator[str]:
    yield word
    if word.endswith("y") and word[-2] not in "aeou":
        yield f"{word[:-1]}ies"
    elif word.endswith("man"):
        yield f"{word[:-2]}en"
    elif word == "wife" or word.endswith("lf"):
        yield f"{word.rstrip('fe')}ves"
    else:
        yield f"{word}s"
        yield f"{word}es"


def _read() -> tuple[dict[str, Members], dict[str, tuple[tuple[str, ...], ...]]]:
    """Members by word, and the phrases by their first word."""
    lines = [(line, _verb) for line in VERBS.strip().split("\n")]
    lines += [(line, _noun) for line in NOUNS.strip().split("\n")]
    lines += [(line, _same) for line in SETS.strip().split("\n")]
    for name, block in (("country", COUNTRIES), ("city", CITIES), ("state", STATES)):
        lines.append((f"{name}:{block.replace(chr(10), ' ')}", _same))
    members: dict[str, dict[tuple[str, str], None]] = {}
    for line, forms in lines:
        name, _, alternatives = line.partition(":")
        for alternative in alternatives.split("|"):
            words = [word.strip() for word in alternative.split(",")]
            for word in words:
                for form in forms(word):
                    members.setdefault(form.replace("_", " "), {})[name, words[0]] = None
    phrases: dict[str, list[tuple[str, ...]]] = {}
    for word in members:
        parts = tuple(word.split(" "))
        if len(parts) > 1:
            phrases.setdefault(parts[0], []).append(parts)
    longest_first = {first: tuple(sorted(all_, key=len, reverse=True)) for first, all_ in phrases.items()}
    return {word: tuple(found) for word, found in members.items()}, longest_first


MEMBERS, PHRASES = _read()
FUNCTION = frozenset(
    _listed(
        "a an the of in on at to for from by with about as into than is are was were be been being am do does did done have has had "
        "having will would shall should can could may might must i me my mine you your yours he him his she her hers it its we us our "
        "they them their this that these those there here what which who whom whose when where why how and or but if then so too very "
        "just also please tell give show explain describe let get got s t re ve ll d m any some much many one ones way ways thing things "
        "best good like need want know find help use using used work works make made im whats hows"
    )
)
TOWARDS = frozenset(_listed("to into"))
"""What stands before them becomes, or goes to, what stands after: "litres to gallons"."""
ROLES = frozenset(_listed("to from into than over by against before after under above below per onto via"))
"""Prepositions that give the word after them a part in the sentence that the word before does not have."""
