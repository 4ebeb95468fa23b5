// Summarises a JSON document. For QuickJS and StarlingMonkey; `about.js` is written by scripts/languages/build.sh.
import { name, inputSchema, outputSchema } from './about.js';

export const step = {
  describe() {
    return {
      name,
      version: '0.1.0',
      summary: 'Summarises a JSON document.',
      steps: [
        {
          name: 'summarise',
          summary: 'Counts values by type and member names, and finds the depth and the longest string.',
          inputSchema,
          outputSchema,
        },
      ],
    };
  },

  run(call) {
    const summary = {
      types: { null: 0, boolean: 0, number: 0, string: 0, array: 0, object: 0 },
      depth: 0,
      keys: 0,
      longest_string: 0,
    };
    const names = new Set();
    summary.depth = look(JSON.parse(call.input).document, summary, names);
    summary.keys = names.size;
    return JSON.stringify(summary);
  },
};

// Counts a value and what is in it, and returns how deep it is.
function look(value, summary, names) {
  const type = value === null ? 'null' : Array.isArray(value) ? 'array' : typeof value;
  summary.types[type] += 1;
  let deepest = 0;
  if (type === 'string') {
    let length = 0;
    for (const _ of value) length += 1; // by code point, not by UTF-16 unit
    summary.longest_string = Math.max(summary.longest_string, length);
  } else if (type === 'array') {
    for (const item of value) deepest = Math.max(deepest, look(item, summary, names));
  } else if (type === 'object') {
    for (const [member, item] of Object.entries(value)) {
      names.add(member);
      deepest = Math.max(deepest, look(item, summary, names));
    }
  }
  return deepest + 1;
}
