package kernel

//go:generate go run -C asm . -out ../avx2_amd64.s -stubs ../avx2_amd64.go -pkg kernel
//go:generate go run -C asm . -vnni -out ../avx512_amd64.s -stubs ../avx512_amd64.go -pkg kernel
//go:generate go run -C asm ./neon -out ../neon_arm64.s -stubs ../neon_arm64.go -pkg kernel
