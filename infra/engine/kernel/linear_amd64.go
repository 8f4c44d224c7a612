package kernel

func kernelsFor(f Format) *quantizedKernels {
	if vnni {
		return &vnniKernels[f]
	}
	return &avx2Kernels[f]
}

var avx2Kernels = [...]quantizedKernels{
	Q8_0: {tokens: tokenKernels{1: vectorQ80, groupQ80x2, groupQ80x3, groupQ80x4}, ahead: groupQ80x4Ahead, pair: pairQ80, pairAhead: pairQ80Ahead},
	Q4_0: {tokens: tokenKernels{1: vectorQ40, groupQ40x2, groupQ40x3, groupQ40x4}, ahead: groupQ40x4Ahead, pair: pairQ40, pairAhead: pairQ40Ahead},
	Q4_1: {tokens: tokenKernels{1: vectorQ41, groupQ41x2, groupQ41x3, groupQ41x4}, ahead: groupQ41x4Ahead, pair: pairQ41, pairAhead: pairQ41Ahead},
	Q5_0: {tokens: tokenKernels{1: vectorQ50, groupQ50x2, groupQ50x3, groupQ50x4}, ahead: groupQ50x4Ahead},
	Q5_1: {tokens: tokenKernels{1: vectorQ51, groupQ51x2, groupQ51x3, groupQ51x4}, ahead: groupQ51x4Ahead},
	Q4_K: {tokens: tokenKernels{1: vectorQ4K, groupQ4Kx2, groupQ4Kx3, groupQ4Kx4}, ahead: groupQ4Kx4Ahead},
	Q5_K: {tokens: tokenKernels{1: vectorQ5K, groupQ5Kx2, groupQ5Kx3, groupQ5Kx4}, ahead: groupQ5Kx4Ahead},
	Q6_K: {tokens: tokenKernels{1: vectorQ6K, groupQ6Kx2, groupQ6Kx3, groupQ6Kx4}, ahead: groupQ6Kx4Ahead},
}

var vnniKernels = [...]quantizedKernels{
	Q8_0: {tokens: tokenKernels{1: vectorQ80VNNI, groupQ80VNNIx2, groupQ80VNNIx3, groupQ80VNNIx4}},
	Q4_0: {tokens: tokenKernels{1: vectorQ40VNNI, groupQ40VNNIx2, groupQ40VNNIx3, groupQ40VNNIx4}},
	Q4_1: {tokens: tokenKernels{1: vectorQ41VNNI, groupQ41VNNIx2, groupQ41VNNIx3, groupQ41VNNIx4}},
	Q5_0: {tokens: tokenKernels{1: vectorQ50VNNI, groupQ50VNNIx2, groupQ50VNNIx3, groupQ50VNNIx4}},
	Q5_1: {tokens: tokenKernels{1: vectorQ51VNNI, groupQ51VNNIx2, groupQ51VNNIx3, groupQ51VNNIx4}},
	Q4_K: {tokens: tokenKernels{1: vectorQ4KVNNI, groupQ4KVNNIx2, groupQ4KVNNIx3, groupQ4KVNNIx4}},
	Q5_K: {tokens: tokenKernels{1: vectorQ5KVNNI, groupQ5KVNNIx2, groupQ5KVNNIx3, groupQ5KVNNIx4}},
	Q6_K: {tokens: tokenKernels{1: vectorQ6KVNNI, groupQ6KVNNIx2, groupQ6KVNNIx3, groupQ6KVNNIx4}},
}
