package seed

import _ "embed"

// Name is the model's name in requests.
const Name = "koinon-seed"

//go:generate go run ./make

//go:embed koinon-seed.gguf
var file []byte

// Bytes returns the embedded GGUF file. Do not change it.
func Bytes() []byte { return file }
