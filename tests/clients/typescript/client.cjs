// The client of this environment, and what the checks beside this file need of it.

const assert = require('node:assert/strict');
const { Pinecone } = require('@pinecone-database/pinecone');
const { version } = require('@pinecone-database/pinecone/package.json');

const VERSION = Number(version.split('.')[0]);
const SERVERLESS = { serverless: { cloud: 'aws', region: 'us-east-1' } };

let made = 0;

// A name that nothing has yet.
const unused = (kind) => `${kind}-${process.pid}-${(made += 1)}`;

const pc = new Pinecone();

// Makes an index and opens it.
async function makeIndex(name, settings) {
  await pc.createIndex({ name, spec: SERVERLESS, waitUntilReady: true, ...settings });
  return pc.index({ name });
}

// Fails unless the work is refused with this error, whose message has all of the texts.
async function refused(kind, work, ...texts) {
  await assert.rejects(work, (error) => {
    assert.equal(error.name, kind, error.message);
    for (const text of texts) assert.ok(error.message.includes(text), error.message);
    return true;
  });
}

module.exports = { VERSION, SERVERLESS, pc, unused, makeIndex, refused };
