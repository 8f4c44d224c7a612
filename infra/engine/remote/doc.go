// Package remote answers with a model that another program runs: any server
// with OpenAI's completions call, such as vLLM, llama.cpp's or Ollama
// (spec/statistical.md).
//
// Start with [Open], which asks the server what it can do; the [Engine] it
// returns is a core.Engine whose answers are of the statistical tier. Prompts go
// to the server as token ids, or as their text where it takes no ids. Where the
// server lists the likeliest tokens, the engine draws among them itself, by the
// request's seed: it lets the server continue greedily, follows as long as its
// own draws are the server's, and has it continue after its own token otherwise.
// Where nothing is listed, the server draws, and the sequence says that no seed
// did (core.Seedless).
//
// Guarantees: every read is bounded in size and time; a server's failure, an
// answer that breaks off or one without a token is a core.Error of the
// provider's, never an end; nothing but tokens of the model's vocabulary comes
// out; http is for loopback, everything else is https, and no redirect is
// followed.
package remote
