"""Short texts in English and in other languages, our own: questions, orders, captions of two to seven words.

The word lists were mended by ``ENGLISH`` and ``OTHERS``; the ``UNSEEN`` ones were written after that, and nothing was mended by them.
"""

_ENGLISH = """
red cotton summer dress
stainless steel water bottle
Ergonomic mesh office chair, black
handmade ceramic mug with lid
vintage leather messenger bag
Wireless noise cancelling headphones
men's waterproof hiking boots
Scandinavian oak coffee table
cozy knitted wool blanket
minimalist wall clock
slim fit denim jacket
Turquoise silk evening gown
portrait of an elderly fisherman
astronaut riding a horse, photorealistic
misty forest at dawn
neon city skyline, cyberpunk
cartoon hedgehog eating strawberries
macro photo of a dragonfly
isometric pixel art castle
watercolor hummingbird
capital of Mongolia
define entropy
photosynthesis steps
Who discovered penicillin?
how tall is Mount Kilimanjaro
Why do cats purr?
convert 12 miles to kilometers
synonyms for happy
explain quantum tunnelling briefly
best hikes near Zermatt
recipe for spaghetti carbonara
pasta alla norma recipe
What does carpe diem mean?
meaning of schadenfreude
Who painted Les Demoiselles d'Avignon?
hotels in São Paulo
restaurants near Plaza de Mayor
El Niño effects on fishing
summary of Don Quijote de la Mancha
der Spiegel circulation figures
history of the Champs-Élysées
Who is Lionel Messi?
translate cheese into Spanish
tacos al pastor marinade
crème brûlée without a torch
BMW M3 vs Audi RS4
python list comprehension example
git rebase vs merge
kubernetes pod restart loop
SQL inner join
regex for email addresses
TCP handshake explained
docker compose volumes
Reset iPhone passcode
cancel gym membership letter
haiku about autumn leaves
limerick involving penguins
Write a tagline for toothpaste
brainstorm bakery names
translate: good morning
rephrase this politely
grammar check please
two truths and a lie
die casting process
an old man in the sun
gas station at night
hot dog stand
is it art or not
do we have a plan
fly me to the moon
on a par with
ten most populous islands
cardiovascular disease risk factors
mitochondria function
Pythagorean theorem proof
antidepressant withdrawal symptoms
symptoms of vitamin D deficiency
mortgage refinancing pros cons
GDPR data retention rules
amortization schedule
"""

_OTHERS = {
    "Spanish": """¿Dónde está la biblioteca?
vestido rojo de algodón
como hago una tortilla
zapatillas de correr para hombre
Escribe un poema sobre el mar
capital de Mongolia, por favor
quien pinto el Guernica
bolso de cuero negro
Resume este artículo
mesa de madera redonda
significado de entropía
las mejores playas cerca de Cádiz""",
    "French": """bonjour comment allez-vous
robe rouge en coton
comment faire une omelette
chaussures de course pour homme
Écris un poème sur la mer
capitale de la Mongolie
qui a peint Guernica
sac en cuir noir
Résume cet article
table ronde en bois
c'est quoi l'entropie
les plus belles plages de Bretagne""",
    "German": """Wie geht es Ihnen?
rotes Sommerkleid aus Baumwolle
wie mache ich ein Omelett
Laufschuhe für Herren
Schreibe ein Gedicht über das Meer
Hauptstadt der Mongolei
wer malte Guernica
schwarze Ledertasche
Fasse diesen Artikel zusammen
runder Holztisch
was bedeutet Entropie
die schönsten Strände auf Rügen""",
    "Italian": """come stai oggi
vestito rosso di cotone
come si fa una frittata
scarpe da corsa per uomo
Scrivi una poesia sul mare
capitale della Mongolia
chi ha dipinto Guernica
borsa di pelle nera
Riassumi questo articolo
tavolo rotondo in legno
che cosa significa entropia
le spiagge più belle della Puglia""",
    "Portuguese": """onde fica a biblioteca
vestido vermelho de algodão
como fazer uma omelete
tênis de corrida masculino
Escreva um poema sobre o mar
capital da Mongólia
quem pintou Guernica
bolsa de couro preta
Resuma este artigo
mesa redonda de madeira
o que significa entropia
as melhores praias do Algarve""",
    "Dutch": """hoe gaat het met jou
rode katoenen zomerjurk
hoe maak ik een omelet
hardloopschoenen voor heren
Schrijf een gedicht over de zee
hoofdstad van Mongolië
wie schilderde Guernica
zwarte leren tas
Vat dit artikel samen
ronde houten tafel
wat betekent entropie
de mooiste stranden van Zeeland""",
    "Swedish": """hur mår du idag
röd sommarklänning i bomull
hur gör jag en omelett
löparskor för herr
Skriv en dikt om havet
huvudstaden i Mongoliet
vem målade Guernica
svart väska i läder
Sammanfatta den här artikeln
runt träbord
vad betyder entropi
de finaste stränderna på Gotland""",
    "Polish": """jak się masz
czerwona sukienka z bawełny
jak zrobić omlet
buty do biegania dla mężczyzn
Napisz wiersz o morzu
stolica Mongolii
kto namalował Guernikę
czarna skórzana torba
Streść ten artykuł
okrągły stół drewniany
co to jest entropia
najpiękniejsze plaże nad Bałtykiem""",
    "Turkish": """nasılsın bugün
kırmızı pamuklu yazlık elbise
omlet nasıl yapılır
erkek koşu ayakkabısı
Deniz hakkında bir şiir yaz
Moğolistan'ın başkenti
Guernica'yı kim yaptı
siyah deri çanta
Bu makaleyi özetle
yuvarlak ahşap masa
entropi ne demek
Bodrum'un en güzel plajları""",
    "Indonesian": """apa kabar hari ini
gaun katun merah
bagaimana cara membuat omelet
sepatu lari pria
Tulis puisi tentang laut
ibu kota Mongolia
siapa yang melukis Guernica
tas kulit hitam
Ringkas artikel ini
meja kayu bundar
apa arti entropi
pantai terindah di Bali""",
    "Russian": """как дела
красное летнее платье
как сделать омлет
мужские кроссовки для бега
Напиши стихотворение о море
столица Монголии
кто написал Гернику
чёрная кожаная сумка
Кратко изложи статью
круглый деревянный стол
что такое энтропия
лучшие пляжи Крыма""",
    "Japanese": """お元気ですか
赤い綿のドレス
オムレツの作り方
メンズ ランニングシューズ
海についての詩を書いて
モンゴルの首都
ゲルニカを描いたのは誰
黒い革のバッグ
この記事を要約して
丸い木のテーブル
エントロピーとは
沖縄で一番きれいなビーチ""",
}

_UNSEEN_ENGLISH = """
gazpacho recipe
white short sleeve t-shirt
Eiffel Tower height
gift ideas for grandma
sleeping dog on a couch
rustic barn door hardware
pho bo recipe
Bildungsroman examples
croissant lamination
feng shui bedroom layout
tai chi for beginners
Munich Oktoberfest dates
Real Madrid vs Barcelona
café racer motorcycle
jalapeño poppers
Björk discography
doppelganger meaning
vis-a-vis etymology
Tchaikovsky ballets
pH of lemon juice
CSS flexbox centering
npm audit fix
photorealistic koala barista
geometric tattoo sketch
logo for a vegan bakery
matte black faucet
plus size maxi dress
toddler rain boots
mid-century sideboard
bohemian macrame curtain
"""

_UNSEEN_OTHERS = {
    "Spanish": """receta de gazpacho andaluz
traduce esta frase al inglés
camiseta blanca de manga corta
cuánto mide la torre Eiffel
ideas para un regalo
perro durmiendo en el sofá""",
    "French": """recette de gaspacho
traduis cette phrase en anglais
tee-shirt blanc à manches courtes
quelle est la hauteur de la tour Eiffel
idées de cadeau
chien endormi sur le canapé""",
    "German": """Rezept für Gazpacho
übersetze diesen Satz ins Englische
weißes T-Shirt mit kurzen Ärmeln
wie hoch ist der Eiffelturm
Geschenkideen für Oma
schlafender Hund auf dem Sofa""",
    "Italian": """ricetta del gazpacho
traduci questa frase in inglese
maglietta bianca a maniche corte
quanto è alta la torre Eiffel
idee regalo per la nonna
cane che dorme sul divano""",
    "Portuguese": """receita de gaspacho
traduz esta frase para inglês
camiseta branca de manga curta
qual é a altura da torre Eiffel
ideias de presente
cachorro dormindo no sofá""",
    "Dutch": """recept voor gazpacho
vertaal deze zin naar het Engels
wit T-shirt met korte mouwen
hoe hoog is de Eiffeltoren
cadeau ideeën voor oma
slapende hond op de bank""",
    "Swedish": """recept på gazpacho
översätt den här meningen
vit t-shirt med korta ärmar
hur högt är Eiffeltornet
presenttips till mormor
sovande hund på soffan""",
    "Danish": """opskrift på gazpacho
oversæt denne sætning
hvid t-shirt med korte ærmer
hvor højt er Eiffeltårnet
gaveideer til mormor
sovende hund på sofaen""",
    "Polish": """przepis na gazpacho
przetłumacz to zdanie
biała koszulka z krótkim rękawem
jak wysoka jest wieża Eiffla
pomysł na prezent
pies śpiący na kanapie""",
    "Turkish": """gazpacho tarifi
bu cümleyi çevir
kısa kollu beyaz tişört
Eyfel Kulesi ne kadar yüksek
hediye fikirleri
kanepede uyuyan köpek""",
    "Indonesian": """resep gazpacho
terjemahkan kalimat ini
kaos putih lengan pendek
berapa tinggi menara Eiffel
ide hadiah untuk nenek
anjing tidur di sofa""",
    "Finnish": """gazpachon resepti
käännä tämä lause
valkoinen lyhythihainen paita
kuinka korkea on Eiffel-torni
lahjaideoita mummolle
koira nukkuu sohvalla""",
    "Hungarian": """gazpacho recept
fordítsd le ezt a mondatot
fehér rövid ujjú póló
milyen magas az Eiffel-torony
ajándékötletek
alvó kutya a kanapén""",
    "Czech": """recept na gazpacho
přelož tuto větu
bílé tričko s krátkým rukávem
jak vysoká je Eiffelova věž
nápady na dárek
spící pes na pohovce""",
    "Vietnamese": """công thức gazpacho
dịch câu này
áo thun trắng tay ngắn
tháp Eiffel cao bao nhiêu
ý tưởng quà tặng
con chó ngủ trên ghế""",
    "Greek": """συνταγή για γκασπάτσο""",
    "Arabic": """وصفة الغازباتشو""",
    "Hindi": """गज़्पाचो की विधि""",
    "Korean": """가스파초 레시피""",
    "Chinese": """西班牙冷汤的做法""",
}


def _by_line(texts: dict[str, str]) -> dict[str, list[str]]:
    return {language: of_it.split("\n") for language, of_it in texts.items()}


ENGLISH = _ENGLISH.strip().split("\n")
UNSEEN_ENGLISH = _UNSEEN_ENGLISH.strip().split("\n")
OTHERS = _by_line(_OTHERS)
UNSEEN_OTHERS = _by_line(_UNSEEN_OTHERS)
