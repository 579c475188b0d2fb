package ingest

import (
	"strings"

	"golang.org/x/text/language"

	"mailwake/engine/registry"
)

// preferenceForm is the version of the preference page's form. It changes with
// every change of what the page asks or says in any language, so that the
// ledger's texts can be told apart by it.
const preferenceForm = "preference-page-1"

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
	Busy       string
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
	Intro:  "ORG would like to know what becomes of the emails it sends you. You decide what may be recorded. Your choice applies from now on, also to emails you already have. You will get the same emails whatever you choose.",
	Questions: questions(
		"Opening emails", "That you open an email, when, and with what kind of program and device.",
		"Following links", "Which links of an email you follow, and when. Links work whatever you choose.",
		"Viewing attachments", "Which attachments you open, and when. They open whatever you choose.",
		"Replying", "That you reply to an email, and when; not what you write."),
	Allow: "Allow", Deny: "Do not allow", Save: "Save my choices", AllowAll: "Allow everything", DenyAll: "Allow nothing",
	Footer:   "This page sets no cookies and records nothing about your visit. Whoever has its address can change these choices, so do not pass it on. What you choose is kept as proof.",
	For:      "Choices for",
	Recorded: "At present: recorded.", Unrecorded: "At present: not recorded.",
	Overruled:  "At present: not recorded, since another refusal is known for you or ORG records nothing.",
	Saved:      "Your choices are saved and apply from now on.",
	Stale:      "This page has changed since you opened it, so nothing was saved. Please look at it again and choose anew.",
	Incomplete: "Nothing was saved: no choice was made.",
	Busy:       "This could not be saved. Please try again in a few minutes.",
	NotFound:   "This link is not valid.",
}, {
	Locale: "de",
	Title:  "Was ORG erfassen darf",
	Intro:  "ORG möchte wissen, was aus den E-Mails wird, die Sie bekommen. Sie entscheiden, was erfasst werden darf. Ihre Wahl gilt ab jetzt, auch für E-Mails, die Sie schon haben. Sie bekommen dieselben E-Mails, gleich was Sie wählen.",
	Questions: questions(
		"Öffnen von E-Mails", "Dass Sie eine E-Mail öffnen, wann, und mit welcher Art von Programm und Gerät.",
		"Aufrufen von Links", "Welche Links einer E-Mail Sie aufrufen und wann. Links funktionieren, gleich was Sie wählen.",
		"Ansehen von Anhängen", "Welche Anhänge Sie öffnen und wann. Sie lassen sich öffnen, gleich was Sie wählen.",
		"Antworten", "Dass Sie auf eine E-Mail antworten und wann; nicht, was Sie schreiben."),
	Allow: "Erlauben", Deny: "Nicht erlauben", Save: "Auswahl speichern", AllowAll: "Alles erlauben", DenyAll: "Nichts erlauben",
	Footer:   "Diese Seite setzt keine Cookies und erfasst nichts über Ihren Besuch. Wer ihre Adresse hat, kann diese Auswahl ändern; geben Sie sie daher nicht weiter. Was Sie wählen, wird als Nachweis aufbewahrt.",
	For:      "Auswahl für",
	Recorded: "Zurzeit: wird erfasst.", Unrecorded: "Zurzeit: wird nicht erfasst.",
	Overruled:  "Zurzeit: wird nicht erfasst, da eine andere Ablehnung von Ihnen bekannt ist oder ORG nichts erfasst.",
	Saved:      "Ihre Auswahl ist gespeichert und gilt ab jetzt.",
	Stale:      "Diese Seite hat sich geändert, seit Sie sie geöffnet haben; daher wurde nichts gespeichert. Bitte sehen Sie sie noch einmal an und wählen Sie neu.",
	Incomplete: "Es wurde nichts gespeichert: Sie haben nichts ausgewählt.",
	Busy:       "Das konnte nicht gespeichert werden. Bitte versuchen Sie es in ein paar Minuten noch einmal.",
	NotFound:   "Dieser Link ist ungültig.",
}, {
	Locale: "fr",
	Title:  "Ce que ORG peut enregistrer",
	Intro:  "ORG aimerait savoir ce que deviennent les e-mails que vous recevez. C’est vous qui décidez de ce qui peut être enregistré. Votre choix vaut dès maintenant, y compris pour les e-mails déjà reçus. Vous recevrez les mêmes e-mails quel que soit votre choix.",
	Questions: questions(
		"Ouverture des e-mails", "Le fait que vous ouvrez un e-mail, quand, et avec quel type de logiciel et d’appareil.", //nolint:misspell // French
		"Clics sur les liens", "Quels liens d’un e-mail vous suivez, et quand. Les liens fonctionnent quel que soit votre choix.",
		"Consultation des pièces jointes", "Quelles pièces jointes vous ouvrez, et quand. Elles s’ouvrent quel que soit votre choix.",
		"Réponses", "Le fait que vous répondez à un e-mail, et quand ; pas ce que vous écrivez."),
	Allow: "Autoriser", Deny: "Ne pas autoriser", Save: "Enregistrer mes choix", AllowAll: "Tout autoriser", DenyAll: "Ne rien autoriser",
	Footer:   "Cette page ne dépose aucun cookie et n’enregistre rien sur votre visite. Toute personne qui en a l’adresse peut modifier ces choix : ne la transmettez pas. Vos choix sont conservés comme preuve.",
	For:      "Choix pour",
	Recorded: "Actuellement : enregistré.", Unrecorded: "Actuellement : non enregistré.",
	Overruled:  "Actuellement : non enregistré, car un autre refus de votre part est connu ou ORG n’enregistre rien.",
	Saved:      "Vos choix sont enregistrés et valent dès maintenant.",
	Stale:      "Cette page a changé depuis que vous l’avez ouverte ; rien n’a été enregistré. Veuillez la relire et choisir à nouveau.",
	Incomplete: "Rien n’a été enregistré : aucun choix n’a été fait.",
	Busy:       "L’enregistrement a échoué. Veuillez réessayer dans quelques minutes.",
	NotFound:   "Ce lien n’est pas valide.",
}, {
	Locale: "es",
	Title:  "Lo que ORG puede registrar",
	Intro:  "A ORG le gustaría saber qué ocurre con los correos que usted recibe. Usted decide qué se puede registrar. Su elección vale desde ahora, también para los correos que ya tiene. Recibirá los mismos correos elija lo que elija.",
	Questions: questions(
		"Apertura de correos", "Que usted abre un correo, cuándo, y con qué tipo de programa y dispositivo.",
		"Clics en enlaces", "Qué enlaces de un correo visita, y cuándo. Los enlaces funcionan elija lo que elija.",
		"Consulta de archivos adjuntos", "Qué archivos adjuntos abre, y cuándo. Se abren elija lo que elija.",
		"Respuestas", "Que usted responde a un correo, y cuándo; no lo que escribe."),
	Allow: "Permitir", Deny: "No permitir", Save: "Guardar mi elección", AllowAll: "Permitir todo", DenyAll: "No permitir nada",
	Footer:   "Esta página no usa cookies ni registra nada sobre su visita. Quien tenga su dirección puede cambiar esta elección: no la comparta. Lo que elija se conserva como prueba.",
	For:      "Elección para",
	Recorded: "Ahora: se registra.", Unrecorded: "Ahora: no se registra.",
	Overruled:  "Ahora: no se registra, porque consta otra negativa suya o porque ORG no registra nada.",
	Saved:      "Su elección se ha guardado y vale desde ahora.",
	Stale:      "Esta página ha cambiado desde que la abrió, por lo que no se ha guardado nada. Por favor, revísela y elija de nuevo.",
	Incomplete: "No se ha guardado nada: no ha elegido nada.",
	Busy:       "No se ha podido guardar. Por favor, inténtelo de nuevo en unos minutos.",
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
