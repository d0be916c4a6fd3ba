"""Sets of alternatives that the guards know: antonyms, directions, goods, colours, materials, places, names. English, lower case.

A set has a name and alternatives, split by ``|``; an alternative is its synonyms, split by commas, the first being its name.
Two texts of which one has "increase" and the other "decrease" ask for different things; two that have "grow" and "increase"
may ask for the same. ``SETS`` takes words as they stand; ``VERBS`` and ``NOUNS`` get the usual endings. An underscore is a space.
"""

VERBS = """
change: increase,raise,grow,rise,boost,gain,climb | decrease,reduce,lower,decline,drop,lessen,shrink,cut,diminish,lose
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
melting: freeze | thaw,defrost,melt
breathing: inhale,breathe_in | exhale,breathe_out
waking: wake_up,wake | fall_asleep,sleep
charging: charge,recharge | discharge,drain
earning: earn,save | spend,waste
lifting: lift,raise | lower,drop
filling: fill | empty,drain
tying: tie,fasten,bind | untie,unfasten,loosen
dressing: dress | undress
folding: fold | unfold
packing: pack | unpack
plugging: plug_in | unplug
muting: mute | unmute
pinning: pin | unpin
archiving: archive | unarchive | restore | backup,back_up
committing: commit | revert,roll_back | rebase
deploying: deploy | roll_back,undeploy
praising: praise,compliment | criticize,criticise,insult
supporting: support,favor,favour | oppose
proving: prove,confirm | disprove,refute,debunk
reveal: reveal,disclose | conceal
strengthen: strengthen | weaken
widen: widen,broaden | narrow
lengthen: lengthen,extend | shorten
speeding: speed_up,accelerate | slow_down,decelerate,brake
rising: rise,ascend | fall,descend | set
advance: advance | retreat,withdraw
laughing: laugh | cry
invest: invest | divest
appearing: appear | disappear,vanish
remembering: remember | forget
floating: float | sink
covering: cover | uncover
wrapping: wrap | unwrap
breaking: break | repair,fix
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
daylight: sunrise,dawn | sunset,dusk
bookkeeping: profit | loss | revenue,turnover
books: asset | liability
life: birth | death | wedding,marriage | funeral
study: theory | practice
outcome: victory,win,success | defeat,loss,failure
person: hero,protagonist | villain,antagonist
claim: plaintiff | defendant
friendly: friend | enemy
call: question | answer
market: supply | demand
front: front | back | side
start_of: beginning,start | end,ending | middle
floor_of: ceiling | floor | wall
weather: rain | snow | sun | storm | fog | wind
terrain: mountain | beach | desert | forest | lake | river | valley | meadow
room: kitchen | bedroom | bathroom | living_room | garage | garden | balcony | office
occasion: birthday | wedding | funeral | graduation | anniversary | christmas | easter | halloween | thanksgiving | baptism
emotion: joy,happiness | sadness | anger | fear
text: email | letter | poem | story | essay | song | speech | tweet | haiku | joke | recipe
temper: optimist | pessimist
outgoing: introvert | extrovert
hunt: predator | prey
visit: guest | host
door: entrance,entry | exit
travel: arrival | departure
skill: amateur,hobbyist | professional
sound: vowel | consonant
fraction: numerator | denominator
coordinate: latitude | longitude
ware: hardware | software | firmware
stack: frontend | backend
affix: prefix | suffix
eater: carnivore | herbivore | omnivore
contest: winner | loser
mail: sender | receiver,recipient
nym: synonym | antonym | homonym
ensemble: solo | duet | trio | quartet
gene: dna | rna
charge_of: proton | neutron | electron
vessel: artery | vein
blood: red_blood_cell | white_blood_cell
grammar: noun | verb | adjective | adverb | pronoun
poetry: haiku | sonnet | limerick | ballad
math: addition | subtraction | multiplication | division
calculus: derivative | integral
stats: mean | median | mode | variance
government: democracy | dictatorship | monarchy | republic
economy: capitalism | communism | socialism
house: senate | congress
law: civil | criminal
office_of: president | vice_president | prime_minister | chancellor
army: army | navy | air_force
rock: stalactite | stalagmite
storm: hurricane | tornado | typhoon
big_cat: lion | tiger | leopard | cheetah | jaguar
bear: bear | wolf | fox | deer
bird: eagle | owl | parrot | penguin | sparrow | pigeon
insect: bee | wasp | ant | butterfly | spider | mosquito
reptile: snake | lizard | turtle | crocodile | alligator
tree: oak | pine | maple | birch | willow
flower: rose | tulip | lily | daisy | sunflower | orchid
grain: rice | wheat | corn | oats | barley | quinoa
dish: pizza | pasta | burger | salad | soup | sandwich | taco | sushi | curry
baked: cake | bread | cookie | pie | muffin | pancake
spice: salt | pepper | sugar | cinnamon | ginger
dairy: butter | cheese | yogurt | cream
organ: heart | liver | kidney | lung | brain | stomach
limb: arm | leg | hand | foot | finger | toe
joint: knee | elbow | shoulder | ankle | wrist | hip
disease: diabetes | cancer | asthma | malaria | flu,influenza | covid
pill: ibuprofen | aspirin | paracetamol,acetaminophen
vitamin_of: protein | carbohydrate,carb | fat | fiber,fibre
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
inside: inside,interior,internal,inner | outside,exterior,external,outer
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
frequency: hourly | daily | weekly | biweekly | monthly | quarterly | yearly,annual,annually
matter: solid | liquid | gas
loss: lossless | lossy
bulb: bright | dim
kindness: generous | stingy
manners: polite | rude
turn_of: clockwise | counterclockwise,anticlockwise
lens: convex | concave
bend: flexible | rigid
active_at: nocturnal | diurnal
salt: freshwater | saltwater
scale: micro | macro
cap: large-cap | small-cap | mid-cap
vision: nearsighted | farsighted
hot_at: hot,spicy | mild
class_of: first_class | business_class | economy_class
shift: day_shift | night_shift
way_of: one-way,one_way | round-trip,round_trip
time_of: full-time,full_time | part-time,part_time
person_of: first_person | second_person | third_person
cell: prokaryotic | eukaryotic
sided: one-sided | two-sided,double-sided
contact: online | offline | in_person
stage: alpha | beta | gamma
wave: infrared | ultraviolet
power: ac | dc
way: forward,forwards,ahead | backward,backwards
awake: awake | asleep
taste: sweet | sour | salty,savory,savoury | bitter | spicy
mood: happy,cheerful | sad,unhappy | angry
noise: loud,noisy | quiet,silent
clean: clean | dirty
safe: safe | dangerous,unsafe,risky
smooth: smooth | rough
sharp: sharp | blunt,dull
straight: straight | curved,curly | wavy
tight: tight | loose
fresh: fresh | stale | frozen | canned
alive: alive,living | dead
guilty: guilty | innocent
same: same,similar,alike | different
right_of: correct,right | wrong,incorrect
active: active | passive | inactive
theory_of: theoretical | practical
major: major | minor
senior: senior | junior
primary: primary | secondary | tertiary
upper: uppercase,upper_case | lowercase,lower_case
plural: singular | plural
abstract: abstract | concrete
fiction: fiction | nonfiction,non-fiction
natural: natural | artificial,synthetic
real: real,genuine | fake,counterfeit
rare: rare | common
shiny: glossy,shiny | matte
fit: slim,skinny | regular | baggy,loose,oversized
opaque: transparent,clear | opaque
portable: portable | stationary
manual: manual,manually | automatic,automatically
local: local | remote
static: static | dynamic
temporary: temporary | permanent
optional: optional | mandatory,required,compulsory
visible: visible | invisible,hidden
odds: likely | unlikely
era: prehistoric | ancient | medieval | modern
sky: cloudy | sunny | rainy | snowy | foggy
cook: vegan | vegetarian | meat
sized: xs | s | m | l | xl | xxl
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
laos | malta,maltese | cyprus | luxembourg | moldova | montenegro | macedonia,north_macedonia | kosovo | mongolia | brunei | bhutan | maldives | fiji |
papua_new_guinea | belize | honduras | el_salvador | nicaragua | dominican_republic | puerto_rico | trinidad | barbados | bahamas | guyana | suriname |
bahrain | uzbekistan | turkmenistan | kyrgyzstan | tajikistan | mali | chad | benin | togo | gabon | congo | namibia | botswana | mozambique | malawi |
mauritius | somalia | eritrea | burundi | ivory_coast | gambia | liberia | sierra_leone | mauritania | greenland | monaco | liechtenstein | andorra | samoa |
tonga | vatican | east_timor | eswatini | lesotho | djibouti | burkina_faso | guinea | seychelles | comoros |
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
