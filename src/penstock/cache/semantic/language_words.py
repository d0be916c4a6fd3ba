"""Frequent words of English and of languages that are written in the same letters: evidence for ``language``."""

_COMMON = """
a about above after again against all almost along already also although always am among an and animal another answer any anyone
anything app apply are area around art as ask at away baby back bad bag bags bank be beach beautiful because become been before began
begin behind being believe below best better between big bird birthday black blue board boat body book books both bottle bottom box
boy bread bring brown bucket build building business but buy by cabinet cake call calm camera can cannot car card care cat ceramic
chair change cheap check child children chocolate circle city class classic clean clear close cloth clothes coat code coffee cold
collar college color colour come comfortable common company compare computer contract cook copy correct cost cotton could country
course cover create credit cup current customer cut dark data database day days decorate deep delete delicious describe description
desk did difference different digital dinner do does dog dogs door down draw dress drink drive dry during each early earth east easy
eat effect egg eggs eight email end english enough even evening ever every everyone example exercise explain eye eyes face fact fall
family far farm fast father feature feel feet female few field file fill film find fire first fish five fix flat floor flower flowers
fly follow food foot football for forest form found four fox free fresh friend friends from front fruit full function funny game
garden gave general get gift girl give glass go gold golden gone good got grass great green grey ground group grow guide guitar had
hair half hand handle hands happen happy hard has hat have having he head health healthy hear heart heavy height help her here high
hill him his history hold home horse hot hour house how human hundred husband i idea if image important in increase inside instead
into is island it its itself job join jump keep key kid kids kind king kitchen knife know lake lamp land language large last late
later laugh law leather learn leave left leg less let letter life light like line list little live living log long look looking loose
lose lot love low machine made main make male man many map market matter may maybe me mean meaning men menu message metal might milk
mind minute mirror modern moment money month moon more morning most mother mountain mountains mouth move much mug music must my myself
name national natural near neck need network never new news next nice night no none nor north not note nothing notice now number
object ocean of off office often oil old on once one online only open or orange order other our out outdoor outfit outside over own
page pair pan paint painting paper park part party pass password past path pattern pay people percent perfect person phone photo
photograph picture piece pink place plan plant plants plate play please plus pocket point poor portrait possible power pretty price
print problem process product program public pull put quality question quick quickly quite race rain read ready real really reason
recipe recommend red remember remove report reset rest restaurant return review rice rich right ring river road rock room round
rule run running sad safe said sale salt same sand saw say school science screen sea seat second see seem self sell send sentence
service set seven several shape share she shelf ship shirt shoe shoes shop short should shoulder show side sign silk silver simple
since sing sister sit six size skin skirt sky sleep sleeve slow small smart smile snow so sofa soft some someone something song soon
sound soup south space speak special spend sport spring square stand star start state stay steel step still stone stop store story
street strong student study style such sugar suit suitable summer sun sunglasses sunny sunset support sure sweet swimming table take
talk tall tank tea teach team tell ten test text than thank thanks that the their them then there these they thick thin thing things
think third this those though thought three through time times tip tips to today together told tomorrow tool top town toy train
translate travel tree trees try turn two type under understand university until up update upon us use used user using vase very video
view vintage visit wait walk wall want war warm was wash watch water way we wear weather week weight well went were west wet what
wheel when where whether which while white who whole whose why wide wife will wind window winter with within without woman women wood
wooden wool word words work working world would write writing wrong year years yellow yes yesterday yet you young your yourself zipper
hello hi hey dear thanks sorry ok okay what's it's don't i'm can't doesn't isn't won't i've you're that's there's let's
hotel figure effect movie song actor singer team player season travel trip flight ticket train station museum river airport email
function variable loop list string array class method server install error file folder query table column user login password account
vitamin protein diet muscle skin doctor symptom pain blood medicine disease virus treatment sleep stress anxiety
write rewrite compare translate describe define list generate suggest brainstorm rephrase correct convert calculate solve prove
capital president invented explain summary summarize email essay poem poetry jokes joke facts benefits symptoms causes meaning definition
"""
ENGLISH = frozenset(_COMMON.split())

FOREIGN: dict[str, frozenset[str]] = {
    name: frozenset(words.split())
    for name, words in {
        "Spanish": """este dame resume lista significa significado diferencia foto quisiera ese esa nuestro nuestra cada alguna ninguno nunca siempre asi aqui alli redondo redonda mas haz haga hago
            de la que el en y los se del las por un para con una su al lo como mas pero sus le ya este porque esta entre
            cuando muy sin sobre tambien me hasta hay donde quien desde todo nos durante todos uno les ni contra otros ese eso ante
            ellos esto antes algunos que unos yo otro otras otra tanto esa estos mucho nada muchos cual poco ella estar estas algo
            nosotros mi mis tu te ti tus ellas soy eres es somos son fue hola gracias buenos dias noches por favor como cuanto cuantos
            cuesta puedo puede quiero quieres hacer tengo tiene cual cuales dime mejor mejores camisa vestido zapatos rojo roja azul
            verde negro negra blanco blanca mujer hombre casa perro gato mesa silla madera bolso grande pequeno nuevo nueva receta
            pollo arroz leche ciudad pais capital hoy manana tiempo dinero trabajo escribe explica traduce ingles""",
        "French": """cet donne raconte resume liste signifie difference entre ou je suis d'accord photo voudrais puis comme celui leurs nos vos chaque toute toutes aucun rien jamais rond ronde
            de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont mais nous vous avec
            son sa ses aux ou comme on elle leur bien peut tout fait sans meme ils si cette ces mon ma mes ton ta tes votre notre
            quel quelle quels quelles comment allez pourquoi quand combien je tu moi toi lui etre avoir suis es sommes etes ont ai as
            avons avez bonjour bonsoir salut merci oui non tres ici faire veux peux dois robe chemise chaussures rouge bleu verte vert
            noir noire blanc blanche femme homme maison chien chat chaise bois sac grand petite petit nouveau nouvelle recette
            poulet riz lait ville pays aujourd'hui demain temps argent travail ecris explique traduis anglais meilleur meilleure
            coton cuir ete hiver c'est qu'est-ce d'un d'une l'eau""",
        "German": """dieser diese dieses diesen diesem bedeutet heisst zeige erzahle gib mochte kannst konnte welchen wofur unterschied zwischen liste bild foto ohne vielen dank alle jeder jede meine meinen unser fasse zusammen artikel runde runder schwarzer roter blauer kleiner grosser neuer
            der die und in den von zu das mit sich des auf fur ist im dem nicht ein eine als auch es an werden aus er hat dass
            sie nach wird bei einer um am sind noch wie einem uber einen so zum war haben nur oder aber vor zur bis mehr durch man
            dann sein soll schon wenn seine ihre kann gegen vom wir ich du ihr mich dich mir dir uns euch was wer wo wann warum
            welche welcher welches wieviel bitte danke hallo guten tag morgen abend ja nein kein keine geht gibt machen mache habe
            kleid hemd schuhe rot rotes rote blau blaues blaue grun schwarz schwarze schwarzes weiss weisse frau frauen damen herren
            mann haus hund katze tisch stuhl holz tasche gross grosse klein kleine neu neue neues rezept milch stadt land
            hauptstadt heute wetter geld arbeit schreibe erklare ubersetze englisch beste besten baumwolle leder sommer auto""",
        "Italian": """dammi riassumi lista significa differenza tra fra foto questa questi queste quello quella nostro nostra ogni nessuno mai rotondo rotonda far fa il lo chi ha fatto
            di e che la il un a per in una sono mi non si ho lo ma ha le i con ti no da se come io ci questo bene qui hai sei
            del della dei delle nel nella al alla gli suo sua tuo mio mia quando dove perche chi cosa quale quali quanto quanti
            essere avere fare anche solo tutto tutti molto piu dopo prima senza sempre ora oggi domani ciao grazie buongiorno
            buonasera prego vorrei posso puoi deve vestito camicia scarpe rosso rossa blu verde nero nera bianco bianca donna uomo
            casa cane gatto tavolo sedia legno borsa grande piccolo nuovo nuova ricetta pollo riso latte citta paese tempo soldi
            lavoro scrivi spiega traduci inglese migliore migliori estate cotone pelle stai sta e' dell'anno l'italia""",
        "Portuguese": """dê da lista significa significado diferenca foto isto aquele aquela nosso nossa cada nenhum nunca sempre assim aqui redondo redonda fica gostaria resuma
            de a o que e do da em um para com nao uma os no se na por mais as dos como mas ao ele das seu sua ou quando
            muito nos ja eu tambem so pelo pela ate isso ela entre depois sem mesmo aos seus quem nas me esse eles voce essa num nem
            suas meu minha numa pelos elas qual lhe deles essas esses pelas este dele tu te voces vos lhes meus minhas onde porque
            quanto quantos ser ter fazer esta estao tem foi sao obrigado obrigada ola bom boa dia noite por favor posso pode quero
            vestido camisa sapatos vermelho vermelha azul verde preto preta branco branca mulher homem casa cachorro gato mesa
            cadeira madeira bolsa grande pequeno novo nova receita frango arroz leite cidade pais hoje tempo dinheiro trabalho
            escreva explique traduza ingles melhor melhores algodao couro""",
        "Dutch": """betekent geef maak lijst verschil tussen foto graag onze ons elke nooit altijd rond ronde welk mooi mooie vat samen vertel laat
            de en van ik te dat die in een hij het niet zijn is was op aan met als voor had er maar om hem dan zou of wat mijn
            men dit zo door over ze zich bij ook tot je mij uit der daar haar naar heb hoe heeft hebben deze u want nog zal me zij nu
            ge geen omdat iets worden toch al waren veel meer doen toen moet ben zonder kan hun dus alles onder ja eens hier wie werd
            waarom wanneer waar welke hoeveel hallo dank bedankt goedemorgen goedendag alsjeblieft wil kunt jurk overhemd schoenen
            rood rode blauw blauwe groen groene zwart zwarte wit witte vrouw vrouwen man mannen huis hond kat tafel stoel hout houten
            tas groot grote klein kleine nieuw nieuwe recept kip rijst melk stad hoofdstad vandaag weer geld werk schrijf leg vertaal
            engels beste katoen katoenen leren zomer gaat""",
        "Swedish": """betyder ge lista skillnad mellan foto bild gora gor varje aldrig alltid rund runt huvudstaden finaste vilka ditt den det sammanfatta beratta
            och det att i en jag hon som han pa den med var sig for sa till ar men ett om hade de av icke mig du henne da sin
            nu har inte hans honom skulle hennes dar min man ej vid kunde nagot fran ut nar efter upp vi dem vara vad over an dig kan
            sina har ha mot alla under nagon eller allt mycket sedan ju denna sjalv detta at utan varit hur ingen mitt ni bli blev
            oss din dessa nagra deras blir mina samma vilken er sadan var varfor hej tack god morgon snalla klanning skjorta skor rod
            rott bla gron svart vit kvinna hus hund katt bord stol tra vaska stor liten ny nytt recept kyckling ris mjolk stad
            huvudstad idag vader pengar arbete skriv forklara oversatt engelska basta bast mar""",
        "Danish or Norwegian": """betyder betyr liste forskel forskjell mellem mellom foto billede bilde lav lag gor gjor hver aldri aldrig alltid altid rund rundt kort
            og i jeg det at en den til er som pa de med han af for ikke der var mig sig men et har om vi min havde
            ham hun nu over da fra du ud sin dem os op man hans hvor eller hvad skal selv her alle vil blev kunne ind nar vaere dog
            noget ville jo deres efter ned skulle denne end dette mit ogsa under have dig anden hende mine alt meget sit sine vor mod
            disse hvis din nogle hos blive mange ad bliver hendes vaeret jer sadan hvordan hvorfor hvem hej takk tak god morgen
            kjole skjorte sko rod rodt bla gronn gron svart sort hvit hvid kvinne kvinde hus hund katt kat bord stol taske veske stor
            stort liten lille ny nytt oppskrift opskrift kylling melk maelk by hovedstad vejr penge arbeid arbejde skriv forklar
            engelsk beste bedste av fra etter ut opp kan ikkje noe gar""",
        "Finnish": """tarkoittaa lista ero kuva tehda jokainen aina koskaan pyorea tama nama tuo
            ja on ei se etta han oli mutta joka kuin niin minun sen mina sina ovat mita mika miten missa milloin miksi kuka
            kun jos tai myos vain kanssa hyva hyvaa kiitos moi hei paivaa huomenta voi voin voit olen olet ole olla mekko paita kengat
            punainen sininen vihrea musta valkoinen nainen mies talo koira kissa poyta tuoli puu laukku iso pieni uusi resepti kana
            maito kaupunki paakaupunki tanaan saa raha tyo kirjoita selita kaanna englanniksi paras kuuluu suomen""",
        "Polish": """znaczy oznacza lista roznica miedzy zdjecie zrobic jestem jestes kazdy nigdy zawsze okragly stresc artykul ten ta te ci tych tym
            i w nie na z do sie to ze jest o jak co po za od czy tak ale przez dla jego jej tylko juz ma ich ktory ktora ktore
            sa byl byla byc moze mam masz gdzie kiedy dlaczego kto ile jaki jaka jakie prosze dziekuje czesc dzien dobry tego tej
            mi mnie ci sukienka koszula buty czerwona czerwony niebieski zielony czarny czarna bialy biala kobieta mezczyzna dom pies
            kot stol krzeslo drewno torba duzy maly nowy nowa przepis kurczak ryz mleko miasto stolica dzisiaj pogoda pieniadze praca
            napisz wyjasnij przetlumacz angielski najlepszy najlepsze pod nad bez""",
        "Czech": """znamena seznam rozdil mezi fotka delat kazdy nikdy vzdy kulaty tento tato toto
            a v se na je ze to z do s o i k ale pro jako za po by si co jak jsem jsi jsou byl byla bylo nebo ktery ktera ktere
            jeho jen kde kdy proc kdo kolik jaky jaka jake ahoj dobry den dekuji prosim mam mas muze mit mi ti saty kosile boty
            cervene cerveny modry zeleny cerny bily zena muz dum pes kocka stul zidle drevo taska velky maly novy recept kure ryze
            mleko mesto dnes pocasi penize prace napis vysvetli preloz anglicky nejlepsi hlavni""",
        "Turkish": """demek yap yapilir yapmak liste fark arasinda fotograf her hicbir asla daima yuvarlak hakkinda ozetle bana sana
            ve bir bu da de icin ile ne cok gibi daha mi var ama o en ben sen biz siz onlar sonra kadar olan olarak her ki
            ya mu nasil nerede nedir neden kim kac hangi merhaba tesekkur tesekkurler gunaydin lutfen iyi evet hayir degil yok elbise
            gomlek ayakkabi kirmizi mavi yesil siyah beyaz kadin erkek ev kopek kedi masa sandalye ahsap canta buyuk kucuk yeni tarif
            tavuk pilav sut sehir baskent baskenti bugun hava para is yaz acikla cevir ingilizce turkiye nasilsin""",
        "Romanian": """de si in la cu pe un o nu a sa ce este din care pentru mai se ca au fost sunt lui ai ar el ea dar sau prin cum
            unde cand cine cat cati eu tu noi voi ei buna ziua multumesc salut va rog pot vreau rochie camasa pantofi rosu rosie
            albastru verde negru alb femeie barbat casa caine pisica masa scaun lemn geanta mare mic nou noua reteta pui orez lapte
            oras capitala azi vreme bani munca scrie explica tradu engleza cel cea bun""",
        "Hungarian": """a az es hogy nem is egy ez van meg de volt csak mint el mar vagy ha kell lehet minden most hogyan hol mikor miert
            ki mi mennyi melyik szia koszonom kerem jo napot reggelt igen en te ok vagyok vagy ruha ing cipo piros kek zold fekete
            feher no ferfi haz kutya macska asztal szek fa taska nagy kicsi uj recept csirke rizs tej varos fovarosa ma ido penz munka
            irj magyarazd forditsd angolul legjobb magyar""",
        "Indonesian": """arti artinya daftar perbedaan antara foto membuat setiap selalu bulat tentang cara ringkas buat
            yang di dan itu dengan untuk tidak ini dari dalam akan pada juga saya ke karena tersebut bisa ada mereka lebih
            kata tahun sudah atau saat oleh menjadi orang ia telah adalah seperti sebagai bahwa dapat para harus namun kita dua satu
            masih hari hanya mengatakan kepada kami setelah melakukan lalu belum lain dia kalau apa bagaimana dimana mana kapan
            mengapa siapa berapa halo terima kasih selamat pagi tolong anda kamu aku gaun kemeja sepatu merah biru hijau hitam putih
            wanita pria rumah anjing kucing meja kursi kayu tas besar kecil baru resep ayam nasi susu kota ibu hari cuaca uang
            kerja tulis jelaskan terjemahkan inggris terbaik kabar""",
        "Swahili": """ya na wa kwa ni katika la za cha hii kama au sana lakini hiyo pia kuwa yake yangu yako nini wapi lini nani jinsi
            habari asante jambo tafadhali mimi wewe yeye sisi gani mji mkuu leo""",
        "Catalan": """de la i el que a en un per amb una els no les del es com al si mes son aquest aquesta pero molt quan on qui quin
            quina com bon dia gracies hola adeu puc vull millor gos gat taula""",
        "Vietnamese": """va la cua cho khong co nguoi mot trong duoc voi cac nhung nay toi ban the nao gi o dau xin chao cam on""",
        "Tagalog": """ang ng sa na mga ay at si ako ikaw siya kami tayo sila ito iyan hindi may ano sino saan kailan bakit paano
            magandang umaga salamat kumusta para""",
    }.items()
}
LATIN_OWN = frozenset("ñßøåæœłğşıčěřőűąęśźżćńťďňůțșăđơưạảấầẩậắằặẻẽếềểễệỉịọỏốồổỗộớờởợụủứừửựỳỵỷỹãõ¿¡")
"""Letters and signs that English takes over with hardly any word."""
ENDINGS = (
    "cion", "ción", "ciones", "mente", "keit", "heit", "schaft", "ungen", "lich", "lichen", "isch", "ische", "zione", "zioni", "ção", "ções",
    "eaux", "euse", "oires", "ezza", "issimo", "heid", "lijk", "tje", "ningen", "ssa", "ssä", "llä", "owie", "ego", "ych", "ować", "lar",
    "ler", "yor", "nya",
)  # fmt: skip
