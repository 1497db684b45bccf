// The TextMate grammar's colours, as VS Code's own engine gives them.

import { test } from "node:test";
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import oniguruma from "vscode-oniguruma";
import textmate from "vscode-textmate";

const require = createRequire(import.meta.url);
const here = new URL("..", import.meta.url);
await oniguruma.loadWASM(readFileSync(require.resolve("vscode-oniguruma/release/onig.wasm")).buffer);
const registry = new textmate.Registry({
  onigLib: Promise.resolve({
    createOnigScanner: (patterns) => new oniguruma.OnigScanner(patterns),
    createOnigString: (text) => new oniguruma.OnigString(text),
  }),
  loadGrammar: async () =>
    textmate.parseRawGrammar(readFileSync(new URL("syntaxes/fg.tmLanguage.json", here), "utf8"), "fg.json"),
});
const grammar = await registry.loadGrammar("source.fg");

/** Pieces of a text with their innermost scope. */
function scopes(text) {
  let state = textmate.INITIAL;
  const out = [];
  for (const line of text.split("\n")) {
    const { tokens, ruleStack } = grammar.tokenizeLine(line, state);
    for (const t of tokens) out.push([line.slice(t.startIndex, t.endIndex).trim(), t.scopes.at(-1).replace(/\.fg$/, "")]);
    state = ruleStack;
  }
  return out.filter(([piece]) => piece !== "");
}

test("words are coloured by what they are", () => {
  const found = new Map(
    scopes(
      'method m(a: f64? = 1e-3) {\n  net student = denoiser() frozen // note\n  draw t ~ law(s)\n' +
        '  loss l = mean(x over C) weight 2 -> student\n  let n = "b{i + 1}.{{"\n  if a != none { return x }\n}',
    ),
  );
  const wanted = {
    method: "keyword.declaration",
    m: "entity.name.function",
    f64: "storage.type",
    "1e-3": "constant.numeric",
    net: "keyword.declaration",
    frozen: "keyword.other",
    "// note": "comment.line.double-slash",
    law: "entity.name.function.call",
    over: "keyword.other",
    weight: "keyword.other",
    C: "variable.other.constant.axis",
    "->": "keyword.operator",
    "{{": "constant.character.escape",
    none: "constant.language",
    return: "keyword.control",
  };
  for (const [piece, scope] of Object.entries(wanted)) assert.equal(found.get(piece), scope, piece);
});

test("strings and comments of the methods end where they should", () => {
  const methods = new URL("../../methods/", here);
  for (const file of readdirSync(methods).filter((f) => f.endsWith(".fg"))) {
    const found = scopes(readFileSync(new URL(file, methods), "utf8"));
    const last = found.at(-1);
    assert.deepEqual(last, ["}", "source"], file);
  }
});
