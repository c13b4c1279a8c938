"""Words that every text of a language is full of: that all answers have one of them is no habit."""

from __future__ import annotations

from jobs.datasets.checks.texts import words

FUNCTION_WORDS = {
    "en": words(
        "a about after all also am an and any are as at be because been before being but by can can't could did do "
        "does doesn't don't down for from get go had has have he her here hers him his how i i'd i'll i'm i've if "
        "in into is isn't it it's its just like make may me might more most much must my need no not now of off "
        "on one only or other our ours out over own same she should so some such than that that's the their them "
        "then there there's these they they're this those through to too two up us use very want was way we "
        "we'll we're we've well were what what's when where which while who why will with without won't would yes "
        "yet you you'd you'll you're you've your yours"
    ),
    "de": words(
        "aber alle allem allen aller alles als also am an ander andere anderen auch auf aus bei bin bis bist bitte da "
        "damit dann das dass dein deine deinem deinen deiner dem den denn der des dich die dies diese diesem diesen "
        "dieser dieses dir doch dort du durch ein eine einem einen einer eines er es etwas euch euer eure für gegen "
        "haben hat hatte hier ihm ihn ihnen ihr ihre ihrem ihren ihrer im immer in ins ist ja jede jeden jeder jedes "
        "jetzt kann kein keine können man mehr mein meine mich mir mit muss nach nein nicht nichts noch nun nur ob "
        "oder ohne schon sehr sein seine sich sie sind so soll sondern über um und uns unser unsere unseren unter "
        "viel vom von vor wann war warum was weil wenn wer werden wie wieder will wir wird wo zu zum zur"
    ),
    "fr": words(
        "à ai alors après as au aucun aussi autre aux avant avec avez avoir avons beaucoup bien c'est car ce cela ces "
        "cet cette ceux chaque chez comme comment d'un d'une dans de depuis des donc du elle elles en encore entre es "
        "est et être eu faire fait il ils j'ai je jusqu'à l'on la le les leur leurs lui ma mais me même mes moi moins "
        "mon ne non nos notre nous on ont ou où par pas peu peut plus pour pouvez pouvoir pourquoi qu'il quand que "
        "quel quelle qui quoi s'il sa sans se sera ses si son sont sous suis sur ta te tes toi ton tous tout toute "
        "toutes très tu un une va vers voici vos votre vous y"
    ),
    "es": words(
        "a al algo antes así aunque bien cada como cómo con cuál cuando cuándo de del desde donde dónde dos el él ella "
        "ellas ellos en entre era es esa ese eso esta está están estar estas este esto estos fue ha hay hace hacer "
        "hasta he la las le les lo los más me mi mis mucho muy nada ni no nos nosotros nuestra nuestro o otra otro "
        "para pero poco por porque puede puedes pueden que qué quien se sea según ser si sí sin sobre son su sus "
        "también tan tanto te tiene tienes todo todos tu tú tus un una uno unos usted ustedes va y ya yo"
    ),
    "it": words(
        "a ad ai al alla alle anche ancora avere c'è che chi ci come con così cosa cui da dal dalla dei del della "
        "delle di dove due e è ed era essere fa fare gli ha hai hanno ho i il in io l'ha la le lei li lo loro lui "
        "ma me mi mia mio molto ne nei nel nella no noi non nostra nostro o ogni per perché più può puoi qual quale "
        "quando quanto quella quello questa questo qui se sei si sì sia sono sta su sua sul sulla suo te ti tra tu "
        "tua tuo tutti tutto un una uno va vi voi"
    ),
    "nl": words(
        "aan al alle als altijd andere ben bij daar dan dat de deze die dit doen door dus een en er geen had heb "
        "hebben heeft hem het hier hij hoe hun ik in is ja jaar je jij jou jouw jullie kan kunnen kunt maar me "
        "meer men met mij mijn moet moeten na naar nee niet niets nog nu of om onder ons onze ook op over te tegen "
        "toch toen tot u uit uw van veel voor waar wanneer waarom was wat we wel welke werd wie wij wil worden "
        "wordt ze zelf zich zij zijn zo zonder zou"
    ),
    "pt": words(
        "a ao aos as até cada com como da das de dela dele depois do dos e é ela elas ele eles em entre era essa esse "
        "esta está estão este eu foi há isso isto já lhe mais mas me mesmo meu minha muito na não nas nem no nos nós "
        "nossa nosso num numa o os ou para pela pelo pode por porque qual quando que quem se sem ser seu seus só "
        "sobre sua suas também te tem tu tudo um uma você vocês"
    ),
}  # fmt: skip
_ALL = frozenset().union(*FUNCTION_WORDS.values())


def is_function_word(word: str, language: str) -> bool:
    """Whether a word in lower case says nothing by itself; of an unknown language, whether it does in any."""
    return len(word) == 1 or word in FUNCTION_WORDS.get(language, _ALL)
