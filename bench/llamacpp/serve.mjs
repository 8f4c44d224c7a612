// Serves models with llama.cpp by OpenAI's completions call, with the
// log-probabilities in the form of llama.cpp's own server. The command line has
// the models as {"name": path, ...}. It prints the port, and ends with its input.
import {createServer} from "node:http";
import {getLlama, LlamaLogLevel} from "node-llama-cpp";

const paths = JSON.parse(process.argv[2]);
const llama = await getLlama({gpu: false, build: "never", logLevel: LlamaLogLevel.error, progressLogs: false});
const models = {};
for (const [name, modelPath] of Object.entries(paths)) {
    const model = await llama.loadModel({modelPath, gpuLayers: 0, useMmap: false});
    const context = await model.createContext({contextSize: 512, batchSize: 512, threads: 1, ignoreMemorySafetyChecks: true});
    models[name] = {model, sequence: context.getSequence(), busy: Promise.resolve()};
}

// listed returns the k likeliest tokens of a row of logits with their log-probabilities.
function listed(logits, k) {
    const all = [...logits].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
    const sum = all.reduce((s, [, l]) => s + Math.exp(l - all[0][1]), 0);
    return all.slice(0, Math.max(k, 1)).map(([id, l]) => ({id, token: "", logprob: l - all[0][1] - Math.log(sum)}));
}

// next evaluates tokens and returns the logits after the last.
async function next({sequence}, tokens) {
    const input = tokens.map((t, i) => i < tokens.length - 1 ? t : [t, {generateNext: {logits: true}}]);
    return (await sequence.controlledEvaluate(input)).at(-1).next.logits;
}

async function complete(m, body, request, response) {
    const {sequence, model} = m;
    const prompt = typeof body.prompt === "string" ? [...model.tokenize(body.prompt, true)] : body.prompt;
    response.writeHead(200, {"Content-Type": "text/event-stream"});
    const send = (event) => response.write(`data: ${JSON.stringify(event)}\n\n`);
    const choice = (c, more) => ({choices: [{index: 0, text: "", finish_reason: null, ...c}], ...more});

    // What the last request left in the cache is used as far as it agrees.
    let same = 0;
    const kept = sequence.contextTokens;
    while (same < kept.length && same < prompt.length - 1 && kept[same] === prompt[same])
        same++;
    if (same < kept.length)
        await sequence.eraseContextTokenRanges([{start: same, end: kept.length}]);

    let fresh = prompt.slice(sequence.nextTokenIndex), reason = "length";
    for (let n = 0; n < (body.max_tokens ?? 16) && !response.destroyed; n++) {
        const top = listed(await next(m, fresh), body.logprobs ?? 0);
        const [{id, logprob}] = top;
        send(choice({text: model.detokenize([id]), logprobs: {content: [{id, token: "", logprob, top_logprobs: top}]}}));
        if (model.isEogToken(id)) {
            reason = "stop";
            break;
        }
        fresh = [id];
        await new Promise(setImmediate); // so that a consumer that left is noticed
    }
    send(choice({finish_reason: reason}, {usage: {prompt_tokens: prompt.length}}));
    response.end("data: [DONE]\n\n");
}

const server = createServer((request, response) => {
    let text = "";
    request.on("data", (part) => { text += part; });
    request.on("end", () => {
        const refuse = (code, error) => response.headersSent ? response.destroy() : response.writeHead(code).end(JSON.stringify({error: String(error)}));
        let body;
        try {
            body = JSON.parse(text);
        } catch (error) {
            return refuse(400, error);
        }
        const m = models[body.model];
        if (request.url !== "/v1/completions" || m === undefined)
            return refuse(404, "no such model or call");
        if (body.temperature > 0)
            return refuse(400, "only greedy continuations are served here");
        m.busy = m.busy.then(() => complete(m, body, request, response)).catch((error) => refuse(500, error));
    });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
