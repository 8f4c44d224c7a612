// Renders conversations with Hugging Face's Jinja for JavaScript: for each job
// of the file named on the command line, {"template": text, "variables": [{...},
// ...]}, one line {"texts": [text or null, ...], "errors": [...]}.
import {readFileSync} from "node:fs";
import {Template} from "@huggingface/jinja";

for (const job of JSON.parse(readFileSync(process.argv[2], "utf8"))) {
    const texts = [], errors = [];
    let template;
    for (const variables of job.variables) {
        try {
            template ??= new Template(job.template);
            texts.push(template.render(variables));
            errors.push("");
        } catch (error) {
            texts.push(null);
            errors.push(String(error));
        }
    }
    console.log(JSON.stringify({texts, errors}));
}
