// Writes the tokens that llama.cpp makes of texts to the file named on the
// command line: for each job read from standard input, {"model": path, "texts":
// [...], "special": bool}, one line {"tokens": [[...], ...]}.
import {appendFileSync, readFileSync} from "node:fs";
import {getLlama, LlamaLogLevel} from "node-llama-cpp";

const jobs = JSON.parse(readFileSync(0, "utf8"));
const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel[process.env.LLAMA_LOG ?? "error"], progressLogs: false});
const answer = (line) => appendFileSync(process.argv[2], JSON.stringify(line) + "\n");

for (const job of jobs) {
    try {
        const model = await llama.loadModel({modelPath: job.model, gpuLayers: 0, useMmap: false, vocabOnly: true});
        answer({tokens: job.texts.map((text) => Array.from(model.tokenize(text, job.special)))});
        await model.dispose();
    } catch (error) {
        answer({error: String(error)});
    }
}
