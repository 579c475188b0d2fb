package ingest

import (
	"strings"

	"golang.org/x/text/language"

	"mailwake/engine/registry"
)

// preferenceForm is the version of the preference page's form. It changes with
// every change of what the page asks or says in any language, so that the
// ledger's texts can be told apart by it.
const preferenceForm = "preference-page-2"

// pageText is the preference page in one language. ORG stands for the
// organisation's title.
type pageText struct {
	Locale     string // BCP 47
	Title      string
	Intro      string
	Questions  [4]question // in the order of their purposes
	Allow      string      // an answer
	Deny       string
	Save       string // a button
	AllowAll   string
	DenyAll    string
	Footer     string
	For        string // before the address, masked
	Recorded   string // what holds at present
	Unrecorded string
	Overruled  string // allowed here, refused elsewhere
	Saved      string
	Stale      string // the form is not the one the page shows now
	Incomplete string // nothing was chosen
	Busy       string // at the moment neither shown nor saved
	NotFound   string
}

// question is what the page asks about one purpose.
type question struct {
	Purpose       registry.Purpose
	Legend, About string
}

// questions fills in the purposes.
func questions(legendsAndTexts ...string) (q [4]question) {
	for i, p := range []registry.Purpose{registry.PurposeOpen, registry.PurposeClick, registry.PurposeAttachment, registry.PurposeReply} {
		q[i] = question{p, legendsAndTexts[2*i], legendsAndTexts[2*i+1]}
	}
	return q
}

// pageTexts are all languages; the first is for those who read none of them.
var pageTexts = []pageText{{
	Locale: "en",
	Title:  "What ORG may record",
	Intro:  "ORG would like to know what happens to the emails it sends you. You decide what may be recorded. Your choice applies from now on, also to emails you already have. You will get the same emails whatever you choose.",
	Questions: questions(
		"Opening emails", "Whether and when you open an email, and with what kind of program and device.",
		"Following links", "Which links in an email you follow, and when. Links work whatever you choose.",
		"Viewing attachments", "Which attachments you open, and when. They open whatever you choose.",
		"Replying", "Whether and when you reply to an email, but not what you write."),
	Allow: "Allow", Deny: "Do not allow", Save: "Save my choices", AllowAll: "Allow everything", DenyAll: "Allow nothing",
	Footer:   "This page sets no cookies and records nothing about your visit. Anyone who has the address of this page can change your choices, so do not pass it on. What you choose is kept as proof.",
	For:      "Choices for",
	Recorded: "At present: recorded.", Unrecorded: "At present: not recorded.",
	Overruled:  "At present: not recorded, since another refusal is known for you or ORG records nothing.",
	Saved:      "Your choices are saved and apply from now on.",
	Stale:      "This page has changed since you opened it, so nothing was saved. Please look at it again and choose anew.",
	Incomplete: "Nothing was saved: no choice was made.",
	Busy:       "This does not work at the moment, and nothing was saved. Please try again in a few minutes.",
	NotFound:   "This link is not valid.",
}, {
	Locale: "de",
	Title:  "Was ORG erfassen darf",
	Intro:  "ORG möchte wissen, was mit den E-Mails geschieht, die Ihnen geschickt werden. Sie entscheiden, was erfasst werden darf. Ihre Auswahl gilt ab sofort, auch für E-Mails, die Sie bereits erhalten haben. Sie erhalten in jedem Fall dieselben E-Mails.",
	Questions: questions(
		"Öffnen von E-Mails", "Ob und wann Sie eine E-Mail öffnen und mit welcher Art von Programm und Gerät.",
		"Aufrufen von Links", "Welche Links einer E-Mail Sie wann aufrufen. Die Links funktionieren in jedem Fall.",
		"Ansehen von Anhängen", "Welche Anhänge Sie wann öffnen. Sie lassen sich in jedem Fall öffnen.",
		"Antworten", "Ob und wann Sie auf eine E-Mail antworten, nicht aber, was Sie schreiben."),
	Allow: "Erlauben", Deny: "Nicht erlauben", Save: "Auswahl speichern", AllowAll: "Alles erlauben", DenyAll: "Nichts erlauben",
	Footer:   "Diese Seite setzt keine Cookies und erfasst nichts über Ihren Besuch. Wer die Adresse dieser Seite kennt, kann Ihre Auswahl ändern; geben Sie sie daher nicht weiter. Ihre Auswahl wird als Nachweis aufbewahrt.",
	For:      "Auswahl für",
	Recorded: "Zurzeit: wird erfasst.", Unrecorded: "Zurzeit: wird nicht erfasst.",
	Overruled:  "Zurzeit: wird nicht erfasst, da für Sie eine andere Ablehnung vorliegt oder ORG nichts erfasst.",
	Saved:      "Ihre Auswahl ist gespeichert und gilt ab sofort.",
	Stale:      "Diese Seite hat sich geändert, seit Sie sie geöffnet haben; daher wurde nichts gespeichert. Bitte sehen Sie sich die Seite noch einmal an und wählen Sie erneut.",
	Incomplete: "Es wurde nichts gespeichert: Sie haben nichts ausgewählt.",
	Busy:       "Das ist im Moment nicht möglich, und es wurde nichts gespeichert. Bitte versuchen Sie es in ein paar Minuten noch einmal.",
	NotFound:   "Dieser Link ist ungültig.",
}, {
	Locale: "fr",
	Title:  "Ce que ORG peut enregistrer",
	Intro:  "ORG aimerait savoir ce que deviennent les courriels qui vous sont envoyés. C’est vous qui décidez de ce qui peut être enregistré. Votre choix s’applique dès maintenant, y compris aux courriels déjà reçus. Vous recevrez les mêmes courriels quel que soit votre choix.",
	Questions: questions(
		"Ouverture des courriels", "Le fait d’ouvrir un courriel, à quel moment, et avec quel type de logiciel et d’appareil.", //nolint:misspell // French
		"Clics sur les liens", "Les liens d’un courriel sur lesquels vous cliquez, et quand. Les liens fonctionnent quel que soit votre choix.",
		"Consultation des pièces jointes", "Les pièces jointes que vous ouvrez, et quand. Elles s’ouvrent quel que soit votre choix.",
		"Réponses", "Le fait de répondre à un courriel, et à quel moment, mais pas ce que vous écrivez."),
	Allow: "Autoriser", Deny: "Refuser", Save: "Enregistrer mes choix", AllowAll: "Tout autoriser", DenyAll: "Tout refuser",
	Footer:   "Cette page ne dépose aucun cookie et n’enregistre rien sur votre visite. Toute personne qui connaît l’adresse de cette page peut modifier vos choix : ne la transmettez pas. Vos choix sont conservés à titre de preuve.",
	For:      "Choix pour",
	Recorded: "Actuellement : enregistré.", Unrecorded: "Actuellement : non enregistré.",
	Overruled:  "Actuellement : non enregistré, car un autre refus vous concernant est connu, ou ORG n’enregistre rien.",
	Saved:      "Vos choix sont enregistrés et s’appliquent dès maintenant.",
	Stale:      "Cette page a changé depuis que vous l’avez ouverte ; rien n’a été enregistré. Veuillez la relire et choisir à nouveau.",
	Incomplete: "Rien n’a été enregistré : aucun choix n’a été fait.",
	Busy:       "Cela n’est pas possible pour le moment, et rien n’a été enregistré. Veuillez réessayer dans quelques minutes.",
	NotFound:   "Ce lien n’est pas valide.",
}, {
	Locale: "es",
	Title:  "Lo que ORG puede registrar",
	Intro:  "A ORG le gustaría saber qué ocurre con los correos que le envía. Usted decide qué se puede registrar. Su elección se aplica desde ahora, también a los correos que ya ha recibido. Recibirá los mismos correos elija lo que elija.",
	Questions: questions(
		"Apertura de correos", "Si abre un correo, cuándo y con qué tipo de programa y dispositivo.",
		"Clics en enlaces", "Qué enlaces de un correo abre y cuándo. Los enlaces funcionan elija lo que elija.",
		"Consulta de archivos adjuntos", "Qué archivos adjuntos abre y cuándo. Podrá abrirlos elija lo que elija.",
		"Respuestas", "Si responde a un correo y cuándo, pero no lo que escribe."),
	Allow: "Permitir", Deny: "No permitir", Save: "Guardar mi elección", AllowAll: "Permitir todo", DenyAll: "No permitir nada",
	Footer:   "Esta página no usa cookies ni registra nada sobre su visita. Quien conozca la dirección de esta página puede cambiar su elección: no la comparta. Lo que elija se conserva como prueba.",
	For:      "Elección para",
	Recorded: "Actualmente: se registra.", Unrecorded: "Actualmente: no se registra.",
	Overruled:  "Actualmente: no se registra, porque consta otra negativa relativa a usted o porque ORG no registra nada.",
	Saved:      "Su elección se ha guardado y se aplica desde ahora.",
	Stale:      "Esta página ha cambiado desde que la abrió, por lo que no se ha guardado nada. Por favor, revísela y elija de nuevo.",
	Incomplete: "No se ha guardado nada: no ha elegido nada.",
	Busy:       "Esto no es posible ahora mismo y no se ha guardado nada. Por favor, inténtelo de nuevo en unos minutos.",
	NotFound:   "Este enlace no es válido.",
}}

var pageMatcher = func() language.Matcher {
	var tags []language.Tag
	for _, t := range pageTexts {
		tags = append(tags, language.MustParse(t.Locale))
	}
	return language.NewMatcher(tags)
}()

// maxAcceptLanguage bounds what is read of the header, in bytes; people's
// browsers send some 40.
const maxAcceptLanguage = 256

// textFor returns the page in the language that an Accept-Language header likes
// best, with the organisation's title in it.
func textFor(acceptLanguage, title string) pageText {
	_, i := language.MatchStrings(pageMatcher, acceptLanguage[:min(len(acceptLanguage), maxAcceptLanguage)])
	return pageTexts[i].with(title)
}

// textIn returns the page in a language that it has.
func textIn(locale, title string) (pageText, bool) {
	for _, t := range pageTexts {
		if t.Locale == locale {
			return t.with(title), true
		}
	}
	return pageText{}, false
}

func (t pageText) with(title string) pageText {
	for _, s := range []*string{&t.Title, &t.Intro, &t.Overruled} {
		*s = strings.ReplaceAll(*s, "ORG", title)
	}
	return t
}

// shown is the text as it is proven by the ledger: all that the page says and
// asks, but for what differs from reader to reader, which is the masked address
// and what holds at present.
func (t pageText) shown() string {
	lines := []string{t.Title, t.Intro}
	for _, q := range t.Questions {
		lines = append(lines, q.Legend, q.About, t.Allow, t.Deny)
	}
	return strings.Join(append(lines, t.Save, t.DenyAll, t.AllowAll, t.Footer), "\n")
}
