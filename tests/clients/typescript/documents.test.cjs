// Documents, which version 9 knows: records under the names of a schema.

const assert = require('node:assert/strict');
const { before, describe, test } = require('node:test');
const { VERSION, pc, refused, unused } = require('./client.cjs');

const skip = VERSION < 9 && 'this client has no documents';

const deployment = { deploymentType: 'managed', cloud: 'aws', region: 'us-east-1' };

async function make(name, fields) {
  await pc.indexes.create({ name, deployment, schema: { fields }, waitUntilReady: true });
  return pc.index({ name });
}

describe('documents', { skip }, () => {
  let dense, name;

  before(async () => {
    name = unused('documents');
    dense = await make(name, {
      embedding: { type: 'dense_vector', dimension: 2, metric: 'cosine' },
    });
  });

  async function stored() {
    const space = dense.namespace(unused('space'));
    await space.upsertDocuments({
      documents: [
        { _id: 'a', embedding: [1, 0], genre: 'drama', year: 1999 },
        { _id: 'b', embedding: [0, 1], genre: 'comedy' },
        { _id: 'c', embedding: [1, 1], genre: 'drama' },
      ],
    });
    return space;
  }

  const idsOf = async (space) =>
    Object.keys((await space.fetchDocuments({ ids: ['a', 'b', 'c'] })).documents).sort();

  test('a schema is kept', async () => {
    const index = await pc.indexes.describe(name);
    const field = index.schema.fields.embedding;
    assert.deepEqual([field.type, field.dimension, field.metric], ['dense_vector', 2, 'cosine']);
    assert.equal(index.deployment.deploymentType, 'managed');
  });

  test('they are searched by a vector field', async () => {
    const space = await stored();
    const scoreBy = [{ type: 'dense_vector', fields: ['embedding'], values: [1, 0] }];
    const answer = await space.searchDocuments({ scoreBy, topK: 2, includeFields: ['genre'] });
    assert.deepEqual(answer.matches.map((match) => match._id), ['a', 'c']);
    assert.ok(Math.abs(answer.matches[0]._score - 1) < 1e-6);
    assert.equal(answer.matches[0].genre, 'drama');
    assert.ok(answer.usage);
    const old = [{ type: 'dense_vector', field: 'embedding', values: [1, 0] }];
    const filtered = await space.searchDocuments({
      scoreBy: old,
      topK: 3,
      filter: { genre: { $eq: 'comedy' } },
    });
    assert.deepEqual(filtered.matches.map((match) => match._id), ['b']);
  });

  test('they are fetched by ids and by filter', async () => {
    const space = await stored();
    const { documents } = await space.fetchDocuments({
      ids: ['a', 'missing'],
      includeFields: ['embedding', 'genre'],
    });
    assert.deepEqual(documents, { a: { _id: 'a', embedding: [1, 0], genre: 'drama' } });
    const found = await space.fetchDocuments({ filter: { genre: { $eq: 'drama' } } });
    assert.deepEqual(Object.keys(found.documents).sort(), ['a', 'c']);
  });

  test('they are updated by id and by filter', async () => {
    const space = await stored();
    await space.updateDocuments({
      documents: [{ _id: 'a', embedding: [0.5, 0.25], flavor: 'chocolate' }],
    });
    const { a } = (
      await space.fetchDocuments({ ids: ['a'], includeFields: ['embedding', 'flavor', 'genre'] })
    ).documents;
    assert.deepEqual([a.embedding, a.flavor, a.genre], [[0.5, 0.25], 'chocolate', 'drama']);
    const answer = await space.updateDocuments({
      filter: { genre: { $eq: 'drama' } },
      setFields: { flavor: 'vanilla' },
    });
    assert.equal(answer.matchedRecords, 2);
  });

  test('they are deleted by ids, by filter, and all', async () => {
    const space = await stored();
    await space.deleteDocuments({ ids: ['a'] });
    assert.deepEqual(await idsOf(space), ['b', 'c']);
    await space.deleteDocuments({ filter: { genre: { $eq: 'drama' } } });
    assert.deepEqual(await idsOf(space), ['b']);
    await space.deleteDocuments({ deleteAll: true });
    assert.deepEqual((await space.listDocuments({})).documents, []);
  });

  test('they are listed', async () => {
    const space = await stored();
    const { documents } = await space.listDocuments({ prefix: 'b' });
    assert.deepEqual(documents.map((one) => one._id), ['b']);
    const page = await space.listDocuments({ limit: 2 });
    assert.equal(page.documents.length, 2);
    const rest = await space.listDocuments({ limit: 2, paginationToken: page.pagination.next });
    assert.deepEqual(rest.documents.map((one) => one._id), ['c']);
  });

  test('sparse ones as well', async () => {
    const index = await make(unused('words'), { words: { type: 'sparse_vector' } });
    const words = { indices: [0, 1], values: [0.5, 0.25] };
    await index.upsertDocuments({ documents: [{ _id: 'a', words, n: 1 }] });
    const { documents } = await index.fetchDocuments({ ids: ['a'], includeFields: ['words'] });
    assert.deepEqual(documents.a.words, words);
    const answer = await index.searchDocuments({
      scoreBy: [{ type: 'sparse_vector', fields: ['words'], sparseValues: words }],
      topK: 1,
    });
    assert.equal(answer.matches[0]._score, 0.3125);
  });

  test('a search by text is refused', async () => {
    const space = await stored();
    await refused('PineconeBadRequestError', () =>
      space.searchDocuments({
        scoreBy: [{ type: 'text', fields: ['genre'], query: 'drama' }],
        topK: 1,
      }));
  });
});
