package seed

import (
	"strings"

	"github.com/koinon-network/koinon/infra/engine/train"
)

// relation is a kind of statement that can be asked back. In all templates %k
// is the key and %v the value; the answer repeats the statement.
type relation struct {
	statement string
	asks      []string
	held      string
	key       func(*train.Random) string
	value     func(*train.Random) string
}

var relations = []relation{
	{"%k lives in %v.", []string{"Where does %k live?", "In which town does %k live?", "What is the home of %k?"}, "What town is %k at home in?", name, town},
	{"%k works as a %v.", []string{"What is the job of %k?", "What does %k work as?", "What does %k do for a living?"}, "Which profession does %k have?", name, oneOf("baker", "teacher", "doctor", "painter", "driver", "lawyer", "farmer", "singer", "nurse", "pilot", "cook", "writer", "judge", "sailor", "tailor", "gardener", "carpenter", "programmer")},
	{"%k likes %v.", []string{"What does %k like?", "What does %k enjoy?", "What is the favourite of %k?"}, "What is %k fond of?", name, oneOf("tea", "coffee", "music", "chess", "football", "bread", "horses", "rain", "books", "dancing", "apples", "the sea", "maps", "trains", "gardens", "stories", "cheese")},
	{"%k is %v years old.", []string{"How old is %k?", "What is the age of %k?"}, "How many years is %k old?", name, digits(2)},
	{"The channel of %k holds %v koin.", []string{"How many koin does the channel of %k hold?", "How much is in the channel of %k?", "What is in the channel of %k?"}, "What amount is in the channel of %k?", name, digits(3)},
	{"Provider %k asks %v akoin per token.", []string{"What does provider %k ask per token?", "What is the price of provider %k?", "How much does provider %k charge?"}, "What does a token of provider %k cost?", name, digits(2)},
	{"The code of the %k is %v.", []string{"What is the code of the %k?", "Which code has the %k?"}, "By which code is the %k opened?", thing, digits(4)},
	{"The %k is %v.", []string{"What colour is the %k?", "Which colour has the %k?"}, "In what colour is the %k?", thing, oneOf("red", "blue", "green", "yellow", "white", "black", "brown", "grey", "orange", "purple")},
	{"The %k is in the %v.", []string{"Where is the %k?", "In which room is the %k?", "Where do I find the %k?"}, "In what place is the %k?", thing, oneOf("kitchen", "garden", "cellar", "office", "hall", "garage", "library", "attic", "studio", "workshop")},
	{"The meeting with %k is on %v.", []string{"When is the meeting with %k?", "On which day is the meeting with %k?"}, "What day is the meeting with %k on?", name, oneOf("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")},
}

var firstNames = strings.Fields("Anna Ben Clara David Emma Felix Greta Hugo Ida Jonas Karin Leo Maria Nora Oscar Paula Rosa Simon Tom Vera Walter Zoe Amir Bruno Carla Dora Erik Fatima George Helen Ivan Julia Kofi Lena Marco Nina Omar Pavel Rita Sara Tariq Uma Victor Yara")

func name(r *train.Random) string {
	if r.Below(2) == 0 {
		return pick(r, firstNames)
	}
	return capital(invented(r, 2))
}

func town(r *train.Random) string { return capital(invented(r, 2+r.Below(2))) }

var thing = oneOf("box", "lamp", "door", "bicycle", "table", "ladder", "printer", "key", "clock", "boat", "chair", "bag", "piano", "safe", "locker", "camera", "bottle", "umbrella", "server", "router")

func oneOf(list ...string) func(*train.Random) string {
	return func(r *train.Random) string { return pick(r, list) }
}

func digits(n int) func(*train.Random) string {
	return func(r *train.Random) string { return number(r, n) }
}

var contextForms = []string{
	"Context: %c\nQuestion: %q", "Context: %c Question: %q", "%c %q", "%c\n\n%q", "Here is a text: %c %q", "Read this: %c\n%q", "Text: %c\n%q",
}

const notInText = "The text does not say."

// fromContext makes a text of a few statements and a question about it, whose
// answer is to be copied. A held one uses a question form that training never
// shows.
func fromContext(r *train.Random, held bool) (question, answer string) {
	type claim struct {
		relation
		key, text string
	}
	var claims []claim
	seen := map[string]bool{}
	for want := 1 + r.Below(5); len(claims) < want; {
		c := claim{relation: pick(r, relations)}
		c.key = c.relation.key(r)
		if id := c.statement + c.key; !seen[id] {
			seen[id] = true
			c.text = strings.NewReplacer("%k", c.key, "%v", c.value(r)).Replace(c.statement)
			claims = append(claims, c)
		}
	}
	at := r.Below(len(claims))
	asked := claims[at]
	answer = asked.text
	if len(claims) > 1 && r.Below(7) == 0 {
		claims = append(claims[:at:at], claims[at+1:]...)
		answer = notInText
	}
	var texts []string
	for _, c := range claims {
		texts = append(texts, c.text)
	}
	ask := asked.relation.held
	if !held {
		ask = pick(r, asked.asks)
	}
	ask = strings.ReplaceAll(ask, "%k", asked.key)
	if !held && r.Below(8) == 0 {
		ask = strings.TrimRight(ask, "?")
	}
	return strings.NewReplacer("%c", strings.Join(texts, " "), "%q", ask).Replace(pick(r, contextForms)), answer
}

var echoForms = []string{"Repeat: %s", "Repeat this: %s", "Say: %s", "Please repeat after me: %s", "Echo %s", "Repeat exactly: %s"}

// echo asks to repeat words without meaning: the plainest copying, from which
// the model learns the rest of it.
func echo(r *train.Random) (question, answer string) {
	var words []string
	for n := 2 + r.Below(9); n > 0; n-- {
		switch r.Below(4) {
		case 0:
			words = append(words, number(r, 1+r.Below(4)))
		case 1:
			words = append(words, name(r))
		default:
			words = append(words, invented(r, 1+r.Below(3)))
		}
	}
	answer = strings.Join(words, " ")
	return strings.Replace(pick(r, echoForms), "%s", answer, 1), answer
}
