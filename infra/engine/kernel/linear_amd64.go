package kernel

func kernelsFor(f Format) *quantizedKernels { return &avx2Kernels[f] }

var avx2Kernels = [...]quantizedKernels{
	Q8_0: {1: vectorQ80, groupQ80x2, groupQ80x3, groupQ80x4},
	Q4_0: {1: vectorQ40, groupQ40x2, groupQ40x3, groupQ40x4},
	Q4_1: {1: vectorQ41, groupQ41x2, groupQ41x3, groupQ41x4},
	Q5_0: {1: vectorQ50, groupQ50x2, groupQ50x3, groupQ50x4},
	Q5_1: {1: vectorQ51, groupQ51x2, groupQ51x3, groupQ51x4},
	Q4_K: {1: vectorQ4K, groupQ4Kx2, groupQ4Kx3, groupQ4Kx4},
	Q5_K: {1: vectorQ5K, groupQ5Kx2, groupQ5Kx3, groupQ5Kx4},
	Q6_K: {1: vectorQ6K, groupQ6Kx2, groupQ6Kx3, groupQ6Kx4},
}
