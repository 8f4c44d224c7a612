// Runs llama.cpp as somebody else's stopwatch asks: commands come as JSON lines
// on standard input, answers leave as JSON lines on standard output.
//
//   {"do": "load", "model": path, "threads": n, "flash": bool, "context": n, "sequences": n, "batch": n}
//   {"do": "prefill", "tokens": [...]}                      -> {"seconds", "last"}
//   {"do": "decode", "tokens": [[...], ...], "n": count}    -> the same; all sequences together, after their first token
//
// It calls the library's own functions with nothing between: a batch is decoded
// by llama_decode, the next token is the greedy sampler's. An answer names the
// last position in the KV cache, so that the asker sees that all was computed.
import {createInterface} from "node:readline";
import {readFileSync} from "node:fs";
import {getLlama, LlamaLogLevel} from "node-llama-cpp";

const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel.error, progressLogs: false, maxThreads: 0});
let model, context, native, sampler;

async function load({model: path, threads, flash, context: size, sequences = 1, batch = 512}) {
    if (context) await context.dispose();
    if (model && model.path !== path) {
        await model.loaded.dispose();
        model = undefined;
    }
    model ??= {path, loaded: await llama.loadModel({modelPath: path, gpuLayers: 0})};
    context = await model.loaded.createContext({
        contextSize: size, batchSize: batch, sequences, threads: {ideal: threads, min: threads},
        flashAttention: flash, ignoreMemorySafetyChecks: true
    });
    native = context._ctx;
    native.setThreads(threads);
    sampler = new llama._bindings.AddonSampler(model.loaded._model);
    sampler.applyConfig({temperature: 0});
    return {threads: native.getThreads(), context: context.contextSize, library: libraries()};
}

// libraries are those of ggml's processor-specific ones that are loaded.
function libraries() {
    const names = new Set(readFileSync("/proc/self/maps", "utf8").match(/libggml-cpu-\w+\.so/g));
    return [...names];
}

// evaluate decodes one batch of [sequence, position, tokens] and returns the
// greedy token after each.
async function evaluate(parts, draw) {
    native.initBatch(parts.reduce((n, [, , tokens]) => n + tokens.length, 0));
    const at = parts.map(([sequence, position, tokens]) =>
        native.addToBatch(sequence, position, Uint32Array.from(tokens), Uint32Array.from([tokens.length - 1]))[0]);
    await native.decodeBatch();
    const out = [];
    for (const index of at)
        out.push(draw ? await native.sampleToken(index, sampler) : -1);
    return out;
}

const seconds = (since) => Number(process.hrtime.bigint() - since) / 1e9;
const last = (sequence) => native.getSequenceKvCacheMaxPosition(sequence);

async function prefill({tokens}) {
    native.disposeSequence(0);
    const since = process.hrtime.bigint();
    await evaluate([[0, 0, tokens]], false);
    return {seconds: seconds(since), last: last(0)};
}

async function decode({tokens, n}) {
    tokens.forEach((_, i) => native.disposeSequence(i));
    let next = [];
    for (const [i, prompt] of tokens.entries())
        next.push(...await evaluate([[i, 0, prompt]], true));
    const since = process.hrtime.bigint();
    for (let step = 0; step < n; step++)
        next = await evaluate(next.map((token, i) => [i, tokens[i].length + step, [token]]), true);
    return {seconds: seconds(since), last: last(tokens.length - 1)};
}

const commands = {load, prefill, decode};

for await (const line of createInterface({input: process.stdin})) {
    const command = JSON.parse(line);
    try {
        console.log(JSON.stringify(await commands[command.do](command)));
    } catch (error) {
        console.log(JSON.stringify({error: String(error?.stack ?? error)}));
    }
}
process.exit(0);
