package token

import (
	"reflect"
	"strings"
	"testing"
)

func TestTrainingMergesTheMostFrequentPair(t *testing.T) {
	// Words: "low" 3, " lower" 1, " low" 1. The pair l-o occurs 5 times, as does
	// o-w, and l < o; then lo-w (5), then " "-low (2); then nothing occurs twice.
	v, err := TrainBPE("low\nlow\nlow lower low", 300, []string{"<|end|>"})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"l o", "lo w", "Ġ low"}; !reflect.DeepEqual(v.Merges, want) {
		t.Errorf("merges %q, want %q", v.Merges, want)
	}
	if n := len(v.Tokens); n != 256+3+1 || v.Tokens[n-1] != "<|end|>" || v.Kinds[n-1] != int32(Control) {
		t.Errorf("%d tokens, the last %q of kind %d", n, v.Tokens[n-1], v.Kinds[n-1])
	}
}

func TestTrainingIsDeterministic(t *testing.T) {
	corpus := strings.Repeat("the quick brown fox jumps over the lazy dog; the dog sleeps. ", 50) + "äöü 12345"
	a, err := TrainBPE(corpus, 320, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if b, _ := TrainBPE(corpus, 320, nil); !reflect.DeepEqual(a, b) {
			t.Fatal("two runs differ")
		}
	}
}
