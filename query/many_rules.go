package query

import "strings"

// disclosure says what of a KPI or of a table of totals is shown to those who may
// not see persons. What it does not name is NULL for them: times, which are
// somebody's, numbers of events, to which one person may add any amount, and what
// was computed from exact figures.
type disclosure struct {
	plain   string // columns shown as they are: the names of groups, and what the registry tells of emails
	asks    string // parameters that may be set; any other could be moved until single persons come and go
	figures []figures
	coarse  map[string]string // columns of seconds shown to one digit, with the figure that they are of
}

// figures are columns with numbers of people who are a group's.
type figures struct {
	group   string // parameters and plain columns that name the group
	columns string // the first one of a row's first figures is how many people the row is about
	most    int64  // up to how often a person counts; 0 is once
	pairs   bool   // a person counts once per email
}

// rates are computed anew, from the figures that are shown.
var rates = map[string][2]string{
	"delivery_rate":            {"delivered", "sent"},
	"open_rate":                {"openers_unique", "delivered"},
	"open_rate_human":          {"openers_human", "delivered"},
	"click_rate":               {"clickers_unique", "delivered"},
	"click_rate_human":         {"clickers_human", "delivered"},
	"click_to_open_rate_human": {"clickers_human", "confirmed_openers_human"},
	"reply_rate":               {"repliers_unique", "delivered"},
	"reply_rate_human":         {"repliers_human", "delivered"},
	"rate_human":               {"people_human", "delivered"},
}

// reactions are the numbers of people in summaries.
const reactions = "sent bounced delivered complained unsubscribed openers_unique openers_human openers_machine clickers_unique clickers_human clickers_machine " +
	"confirmed_openers_human attachment_viewers_unique attachment_viewers_human attachment_viewers_machine repliers_unique repliers_human repliers_machine"

// oftenMost is how often one person counts in the events of totals.
const oftenMost = 3

// kpiDisclosures are those of all KPIs that are not about single persons. A column
// that stands for the same people in several rows or KPIs has the same group
// there, so that it is the same number everywhere and nothing is to be had from
// comparing.
var kpiDisclosures = map[string]disclosure{
	"organisation_summary": {
		plain:   "emails_total emails_followed emails_sent",
		figures: []figures{{columns: "people people_reached"}, {columns: reactions, pairs: true}},
	},
	"email_summary": {
		plain: "email_id subject template follow_state created_at links attachments", asks: "email limit",
		figures: []figures{{group: "email_id", columns: "people " + reactions}},
	},
	"email_list": {
		plain: "email_id subject template follow_state created_at", asks: "before template limit",
		figures: []figures{{group: "email_id", columns: "people " + reactions}},
	},
	"link_table": {
		plain: "email_id component url", asks: "email limit",
		figures: []figures{{group: "email_id", columns: "people delivered"}, {group: "email_id component", columns: "people_unique people_human people_machine"}},
	},
	"attachment_table": {
		plain: "email_id component name media_type size followed", asks: "email limit",
		figures: []figures{{group: "email_id", columns: "people delivered"}, {group: "email_id component", columns: "people_unique people_human people_machine"}},
	},
	"email_timeline": {
		plain: "bucket_start", asks: "email bucket",
		figures: []figures{
			{group: "email bucket bucket_start", columns: "people"},
			{group: "email bucket bucket_start", columns: "openers_unique openers_human clickers_unique clickers_human", pairs: true},
		},
	},
	"device_mix": {
		plain: "name", asks: "by email",
		figures: []figures{{group: "email by name", columns: "people people_human"}},
	},
	"machine_share": {
		plain: "name", asks: "by limit",
		figures: []figures{{group: "by name", columns: "people"}},
	},
	"heat_map": {
		plain: "weekday hour", asks: "email",
		figures: []figures{{group: "email weekday hour", columns: "people"}},
	},
	"followed_comparison": {
		plain:   "follow_state emails share",
		figures: []figures{{group: "follow_state", columns: "people"}, {group: "follow_state", columns: "recipients " + reactions, pairs: true}},
	},
	"template_table": {
		plain: "template emails emails_followed last_used_at", asks: "limit",
		figures: []figures{{group: "template", columns: "people"}, {group: "template", columns: reactions, pairs: true}},
	},
	"time_to_first": {
		plain: "event", asks: "email",
		figures: []figures{
			{group: "email", columns: "people"}, {group: "email", columns: "delivered", pairs: true},
			{group: "email event", columns: "observed waiting", pairs: true},
		},
		coarse: map[string]string{"p50_seconds": "observed", "p75_seconds": "observed", "p90_seconds": "observed"},
	},
	"weekly_cohorts": {
		plain: "week_start weeks_after", asks: "weeks",
		figures: []figures{
			{group: "week_start", columns: "people"}, {group: "week_start", columns: "cohort", pairs: true},
			{group: "week_start weeks_after", columns: "openers_human clickers_human repliers_human first_openers_human", pairs: true},
		},
	},
	"recency_frequency_grid": {
		plain:   "recency_quintile frequency_quintile",
		figures: []figures{{group: "recency_quintile frequency_quintile", columns: "people"}},
	},
}

// totalDisclosures are those of the tables of totals. Their columns go by the
// names that KPIs have for the same numbers.
var totalDisclosures = map[string]disclosure{
	"email_totals": {
		plain: "email_id template created_on",
		figures: []figures{
			{group: "email_id", columns: "people people_bounced people_opened people_opened_human people_clicked people_clicked_human people_viewed people_replied"},
			{group: "email_id", columns: "opens clicks attachment_views replies", most: oftenMost},
		},
	},
	"day_totals": {
		plain:   "kind day",
		figures: []figures{{group: "kind day", columns: "people"}, {group: "kind day", columns: "events", most: oftenMost}},
	},
}

// sameFigures names the columns of totals that KPIs call otherwise.
var sameFigures = map[string]string{
	"people_bounced": "bounced", "people_opened": "openers_unique", "people_opened_human": "openers_human", "people_clicked": "clickers_unique",
	"people_clicked_human": "clickers_human", "people_viewed": "attachment_viewers_unique", "people_replied": "repliers_unique",
}

// allows reports whether the parameter may be set.
func (d *disclosure) allows(param string) bool { return words(d.asks)[param] }

// in returns those of the names in list that are columns here.
func in(columns map[string]int, list string) []string {
	var names []string
	for name := range strings.FieldsSeq(list) {
		if _, ok := columns[name]; ok {
			names = append(names, name)
		}
	}
	return names
}
