package kernel

func kernelsFor(f Format) *quantizedKernels {
	if dotProduct {
		return &dotKernels[f]
	}
	return &wideKernels[f]
}

// The kernels for processors with SDOT.
var dotKernels = [...]quantizedKernels{
	Q8_0: {tokens: tokenKernels{1: vectorQ80Dot, groupQ80x2Dot, groupQ80x3Dot, groupQ80x4Dot}},
	Q4_0: {tokens: tokenKernels{1: vectorQ40Dot, groupQ40x2Dot, groupQ40x3Dot, groupQ40x4Dot}},
	Q4_1: {tokens: tokenKernels{1: vectorQ41Dot, groupQ41x2Dot, groupQ41x3Dot, groupQ41x4Dot}},
	Q5_0: {tokens: tokenKernels{1: vectorQ50Dot, groupQ50x2Dot, groupQ50x3Dot, groupQ50x4Dot}},
	Q5_1: {tokens: tokenKernels{1: vectorQ51Dot, groupQ51x2Dot, groupQ51x3Dot, groupQ51x4Dot}},
	Q4_K: {tokens: tokenKernels{1: vectorQ4KDot, groupQ4Kx2Dot, groupQ4Kx3Dot, groupQ4Kx4Dot}},
	Q5_K: {tokens: tokenKernels{1: vectorQ5KDot, groupQ5Kx2Dot, groupQ5Kx3Dot, groupQ5Kx4Dot}},
	Q6_K: {tokens: tokenKernels{1: vectorQ6KDot, groupQ6Kx2Dot, groupQ6Kx3Dot, groupQ6Kx4Dot}},
}

// The kernels for those without.
var wideKernels = [...]quantizedKernels{
	Q8_0: {tokens: tokenKernels{1: vectorQ80Wide, groupQ80x2Wide, groupQ80x3Wide, groupQ80x4Wide}},
	Q4_0: {tokens: tokenKernels{1: vectorQ40Wide, groupQ40x2Wide, groupQ40x3Wide, groupQ40x4Wide}},
	Q4_1: {tokens: tokenKernels{1: vectorQ41Wide, groupQ41x2Wide, groupQ41x3Wide, groupQ41x4Wide}},
	Q5_0: {tokens: tokenKernels{1: vectorQ50Wide, groupQ50x2Wide, groupQ50x3Wide, groupQ50x4Wide}},
	Q5_1: {tokens: tokenKernels{1: vectorQ51Wide, groupQ51x2Wide, groupQ51x3Wide, groupQ51x4Wide}},
	Q4_K: {tokens: tokenKernels{1: vectorQ4KWide, groupQ4Kx2Wide, groupQ4Kx3Wide, groupQ4Kx4Wide}},
	Q5_K: {tokens: tokenKernels{1: vectorQ5KWide, groupQ5Kx2Wide, groupQ5Kx3Wide, groupQ5Kx4Wide}},
	Q6_K: {tokens: tokenKernels{1: vectorQ6KWide, groupQ6Kx2Wide, groupQ6Kx3Wide, groupQ6Kx4Wide}},
}
