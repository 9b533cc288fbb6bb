// Print what the AsyncAPI parser finds in the documents at the given paths, one JSON object for each document.
const { readFileSync } = require("fs");
const { Parser } = require("@asyncapi/parser");

const SEVERITIES = ["error", "warning", "information", "hint"];

(async () => {
  const parser = new Parser();
  for (const document of process.argv.slice(2)) {
    const findings = await parser.validate(readFileSync(document, "utf8"));
    console.log(
      JSON.stringify(findings.map((f) => ({ severity: SEVERITIES[f.severity], code: f.code, message: f.message })))
    );
  }
})();
