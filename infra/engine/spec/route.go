package spec

import "math"

var quietNaN = math.Float32frombits(0x7fc00000)

// Route chooses the experts of one token from the router's logits: as many as
// chosen has room for, at most len(logits). It fills in their numbers in rising
// order and the weight of each expert's answer.
//
//	chosen:  the experts with the largest logits; of equals the lowest number
//	e[i]   = Exp(logits[i] - Max(logits))
//	s      = normalised: sequential sum of e over the chosen, in rising order
//	         otherwise:  lane sum of e over all experts (see [Lanes])
//	weight = e[i] * (1/s), times scale unless that is 1
//
// When a logit is not finite every weight is NaN, so that the outcome shows as
// invalid. The token's answer is the sequential sum of weight*answer over the
// chosen in rising order, from +0 (see [MixExpert]). logits is overwritten.
func Route(chosen []int, weights, logits []float32, normalised bool, scale float32) {
	finite := Finite(logits)
	for k := range chosen {
		chosen[k] = largest(logits, chosen[:k])
	}
	ascending(chosen)
	sum := Softmax(logits)
	if normalised {
		sum = 0
		for _, i := range chosen {
			sum += logits[i]
		}
	}
	inverse := 1 / sum
	for k, i := range chosen {
		weights[k] = float32(logits[i] * inverse)
		if scale != 1 {
			weights[k] = float32(weights[k] * scale)
		}
		if !finite {
			weights[k] = quietNaN
		}
	}
}

// largest is the number of the largest logit that is not taken, the lowest of
// equals; a NaN is chosen last.
func largest(logits []float32, taken []int) int {
	best := -1
	for i, v := range logits {
		if (best < 0 || v > logits[best]) && !holds(taken, i) {
			best = i
		}
	}
	return best
}

func holds(numbers []int, n int) bool {
	for _, v := range numbers {
		if v == n {
			return true
		}
	}
	return false
}

func ascending(numbers []int) {
	for i := range numbers {
		for j := i; j > 0 && numbers[j] < numbers[j-1]; j-- {
			numbers[j], numbers[j-1] = numbers[j-1], numbers[j]
		}
	}
}

// MixExpert adds an expert's weighted answer: dst[i] += weight*answer[i], the
// product and the sum rounded on their own.
func MixExpert(dst, answer []float32, weight float32) {
	for i, v := range answer {
		dst[i] += float32(weight * v)
	}
}
