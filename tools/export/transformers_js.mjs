// Shows that transformers.js reads what `ueo export RUN --to onnx-encoder --output DIRECTORY` writes.
//
//     npm install @huggingface/transformers@VERSION      (the version is in docs/export.md)
//     node tools/export/transformers_js.mjs DIRECTORY EMBEDDINGS.json
//
// EMBEDDINGS.json has `texts` and their features of unit length, from `ueo embed`. The image tower is only loaded and run.
import { readFileSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { AutoProcessor, AutoTokenizer, CLIPTextModelWithProjection, CLIPVisionModelWithProjection, RawImage, env }
  from "@huggingface/transformers";

const [directory, expected] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = dirname(resolve(directory));
const name = basename(resolve(directory));
const options = { dtype: "fp32" };

const { texts, features } = JSON.parse(readFileSync(expected, "utf8"));
const tokenizer = await AutoTokenizer.from_pretrained(name);
const text = await CLIPTextModelWithProjection.from_pretrained(name, options);
const { text_embeds } = await text(tokenizer(texts, { padding: true }));
let apart = 0;
text_embeds.normalize().tolist().forEach((row, i) => row.forEach((x, j) => { apart = Math.max(apart, Math.abs(x - features[i][j])); }));

const processor = await AutoProcessor.from_pretrained(name);
const vision = await CLIPVisionModelWithProjection.from_pretrained(name, options);
const image = new RawImage(new Uint8ClampedArray(90 * 80 * 3).map((_, i) => (i * 7) % 256), 90, 80, 3);
const { image_embeds } = await vision(await processor(image));
console.log(`${env.version}: ${texts.length} texts within ${apart.toExponential(1)}, image features of shape ${image_embeds.dims}`);
if (!(apart < 1e-4)) process.exit(1);
