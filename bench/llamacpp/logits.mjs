// Writes the logits that llama.cpp computes to the file named on the command
// line: for each job read from standard input, {"model": path, "tokens": [...]},
// one line {"logits": [[...], ...]} with a row per position. Keys and values are kept in float32, so that only
// the operators differ from the engine they are compared with.
import {appendFileSync, readFileSync} from "node:fs";
import {getLlama, LlamaLogLevel} from "node-llama-cpp";

const jobs = JSON.parse(readFileSync(0, "utf8"));
const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel[process.env.LLAMA_LOG ?? "error"], progressLogs: false});
const answer = (line) => appendFileSync(process.argv[2], JSON.stringify(line) + "\n");

for (const job of jobs) {
    try {
        const model = await llama.loadModel({modelPath: job.model, gpuLayers: 0, useMmap: false});
        const context = await model.createContext({
            contextSize: job.context ?? job.tokens.length + 1,
            batchSize: job.tokens.length,
            threads: 1,
            flashAttention: false,
            swaFullCache: true,
            experimentalKvCacheKeyType: "F32",
            experimentalKvCacheValueType: "F32",
            ignoreMemorySafetyChecks: true
        });
        const sequence = context.getSequence();
        const input = job.tokens.map((token) => [token, {generateNext: {logits: true}}]);
        const output = await sequence.controlledEvaluate(input);
        const logits = output.map(({next}) => {
            const row = new Array(next.logits.size);
            for (const [token, value] of next.logits)
                row[token] = value;
            return row;
        });
        answer({logits});
        await context.dispose();
        await model.dispose();
    } catch (error) {
        answer({error: String(error)});
    }
}
process.exit(0);
