// Vectors: what is written is what is read, found, changed and deleted.

const assert = require('node:assert/strict');
const { before, test } = require('node:test');
const { VERSION, makeIndex, refused, unused } = require('./client.cjs');

let index, hybrid, sparse;

before(async () => {
  index = await makeIndex(unused('dense'), { dimension: 2, metric: 'cosine' });
  hybrid = await makeIndex(unused('hybrid'), { dimension: 2, metric: 'dotproduct' });
  sparse = await makeIndex(unused('sparse'), { vectorType: 'sparse', metric: 'dotproduct' });
});

const POINTS = [
  { id: 'a', values: [1, 0], metadata: { name: 'a', n: 1 } },
  { id: 'b', values: [1, 1], metadata: { name: 'b', n: 2 } },
  { id: 'c', values: [0, 2], metadata: { name: 'c', n: 3 } },
];

// A namespace of `index` with POINTS.
async function stored() {
  const space = index.namespace(unused('space'));
  await space.upsert({ records: POINTS });
  return space;
}

const idsOf = async (space) => Object.keys((await space.fetch({ ids: ['a', 'b', 'c'] })).records);
const matchesOf = (answer) => answer.matches.map((match) => [match.id, match.score]);

test('records come back as they went', async () => {
  const space = await stored();
  const { records, usage } = await space.fetch({ ids: ['a', 'c', 'missing'] });
  assert.deepEqual(Object.keys(records).sort(), ['a', 'c']);
  assert.deepEqual(records.a.values, [1, 0]);
  assert.deepEqual(records.a.metadata, { name: 'a', n: 1 });
  assert.ok(usage.readUnits > 0);
});

test('metadata of every kind is kept', async () => {
  const space = index.namespace(unused('space'));
  const metadata = { text: 'ümlaut', whole: 7, part: 1.5, yes: true, no: false, list: ['x', 'y'] };
  await space.upsert({ records: [{ id: 'a', values: [1, 1], metadata }] });
  assert.deepEqual((await space.fetch({ ids: ['a'] })).records.a.metadata, metadata);
});

test('the default namespace needs no name', async () => {
  const own = await makeIndex(unused('own'), { dimension: 2 });
  await own.upsert({ records: [{ id: 'a', values: [1, 1] }] });
  assert.equal((await own.fetch({ ids: ['a'] })).namespace, '__default__');
  assert.ok((await own.namespace('').fetch({ ids: ['a'] })).records.a);
  const { namespaces } = await own.describeIndexStats();
  assert.equal((namespaces[''] ?? namespaces.__default__).recordCount, 1);
});

test('an upsert replaces all of a record', async () => {
  const space = await stored();
  await space.upsert({ records: [{ id: 'a', values: [0, 1] }] });
  const { a } = (await space.fetch({ ids: ['a'] })).records;
  assert.deepEqual([a.values, a.metadata], [[0, 1], undefined]);
});

test('a query by vector finds the nearest', async () => {
  const space = await stored();
  const answer = await space.query({ vector: [1, 0], topK: 2 });
  assert.deepEqual(answer.matches.map((match) => match.id), ['a', 'b']);
  assert.ok(Math.abs(answer.matches[1].score - Math.SQRT1_2) < 1e-6);
  assert.ok(answer.usage.readUnits > 0);
  assert.deepEqual([answer.matches[0].values, answer.matches[0].metadata], [[], undefined]);
});

test('a query includes what is asked for', async () => {
  const space = await stored();
  const [match] = (
    await space.query({ vector: [1, 0], topK: 1, includeValues: true, includeMetadata: true })
  ).matches;
  assert.deepEqual([match.values, match.metadata], [[1, 0], { name: 'a', n: 1 }]);
});

test('a query by id', async () => {
  const space = await stored();
  assert.equal((await space.query({ id: 'c', topK: 3 })).matches[0].id, 'c');
  assert.equal((await space.query({ id: 'c', topK: 11 })).matches.length, 3);
  assert.deepEqual((await space.query({ id: '12354523423', topK: 2 })).matches, []);
});

test('an unknown namespace is empty', async () => {
  const nowhere = index.namespace('nowhere');
  assert.deepEqual((await nowhere.query({ vector: [1, 0], topK: 2 })).matches, []);
  assert.deepEqual((await nowhere.fetch({ ids: ['a'] })).records, {});
  assert.deepEqual((await nowhere.listPaginated()).vectors, []);
});

for (const [metric, expected] of [
  ['dotproduct', [['c', 4], ['b', 3], ['a', 1]]],
  ['euclidean', [['b', 1], ['c', 1], ['a', 4]]],
]) {
  test(`${metric} scores and orders`, async () => {
    const own = await makeIndex(unused('metric'), { dimension: 2, metric });
    await own.upsert({ records: POINTS });
    assert.deepEqual(matchesOf(await own.query({ vector: [1, 2], topK: 3 })), expected);
  });
}

for (const [filter, expected] of [
  [{ name: 'a' }, ['a']],
  [{ name: { $eq: 'b' } }, ['b']],
  [{ name: { $ne: 'b' } }, ['a', 'c']],
  [{ n: { $gt: 1 } }, ['b', 'c']],
  [{ n: { $gte: 2, $lt: 3 } }, ['b']],
  [{ n: { $lte: 2 } }, ['a', 'b']],
  [{ name: { $in: ['a', 'c', 'z'] } }, ['a', 'c']],
  [{ name: { $nin: ['a'] } }, ['b', 'c']],
  [{ other: { $exists: true } }, []],
  [{ n: { $exists: true } }, ['a', 'b', 'c']],
  [{ $and: [{ n: { $gt: 1 } }, { name: 'c' }] }, ['c']],
  [{ $or: [{ n: 1 }, { name: 'c' }] }, ['a', 'c']],
]) {
  test(`the filter ${JSON.stringify(filter)} selects`, async () => {
    const space = await stored();
    const { matches } = await space.query({ vector: [1, 1], topK: 10, filter });
    assert.deepEqual(matches.map((match) => match.id).sort(), expected);
    const { records } = await space.fetchByMetadata({ filter });
    assert.deepEqual(Object.keys(records).sort(), expected);
  });
}

for (const filter of [
  { n: { $what: 1 } }, { n: { $gt: 'x' } }, { n: { $in: 1 } }, { $and: { n: 1 } },
]) {
  test(`the filter ${JSON.stringify(filter)} is refused`, async () => {
    const space = await stored();
    await refused('PineconeBadRequestError', () =>
      space.query({ vector: [1, 1], topK: 10, filter }));
  });
}

test('an update replaces values and merges metadata', async () => {
  const space = await stored();
  await space.update({ id: 'a', values: [5, 6] });
  await space.update({ id: 'a', metadata: { n: 9, more: 'x' } });
  const { a } = (await space.fetch({ ids: ['a'] })).records;
  assert.deepEqual([a.values, a.metadata], [[5, 6], { name: 'a', n: 9, more: 'x' }]);
  await space.update({ id: 'missing', values: [5, 6] });
});

test('an update by filter changes what matches', async () => {
  const space = await stored();
  await space.update({ filter: { n: { $gt: 1 } }, metadata: { flavor: 'vanilla' } });
  const { records } = await space.fetch({ ids: ['a', 'b'] });
  assert.deepEqual([records.a.metadata.flavor, records.b.metadata.flavor], [undefined, 'vanilla']);
});

test('records are deleted one by one, many at once, by filter, and all', async () => {
  const space = await stored();
  await space.deleteOne({ id: 'a' });
  assert.deepEqual(await idsOf(space), ['b', 'c']);
  await space.deleteOne({ id: 'missing' });
  await space.deleteMany({ filter: { name: 'b' } });
  assert.deepEqual(await idsOf(space), ['c']);
  await space.upsert({ records: POINTS });
  await space.deleteMany({ ids: ['a', 'c'] });
  assert.deepEqual(await idsOf(space), ['b']);
  await space.deleteAll();
  assert.deepEqual(await idsOf(space), []);
});

test('ids are listed in pages', async () => {
  const space = index.namespace(unused('space'));
  const records = Array.from({ length: 120 }, (_, number) => ({
    id: `doc#${String(number).padStart(3, '0')}`,
    values: [1, 1],
  }));
  await space.upsert({ records });
  const first = await space.listPaginated({ prefix: 'doc#' });
  assert.equal(first.vectors.length, 100);
  const second = await space.listPaginated({
    prefix: 'doc#',
    paginationToken: first.pagination.next,
  });
  assert.deepEqual(second.vectors.map((one) => one.id), records.slice(100).map((one) => one.id));
  assert.equal(second.pagination?.next, undefined);
  assert.equal((await space.listPaginated({ prefix: 'doc#11', limit: 5 })).vectors.length, 5);
});

test('namespaces are made, listed, described and deleted', async () => {
  const name = unused('space');
  const made = await index.createNamespace({
    name,
    schema: { fields: { genre: { filterable: true } } },
  });
  assert.equal(made.name, name);
  assert.equal(made.schema.fields.genre.filterable, true);
  await refused('PineconeConflictError', () => index.createNamespace({ name }));
  await index.namespace(name).upsert({ records: [{ id: 'a', values: [1, 1] }] });
  const described = await index.describeNamespace(name);
  assert.deepEqual([described.name, Number(described.recordCount)], [name, 1]);
  const { namespaces, totalCount } = await index.listNamespaces({ prefix: name });
  assert.deepEqual([namespaces.map((one) => one.name), totalCount], [[name], 1]);
  await index.deleteNamespace(name);
  await refused('PineconeNotFoundError', () => index.describeNamespace(name));
});

test('hybrid queries add both products', async () => {
  const space = hybrid.namespace(unused('space'));
  await space.upsert({
    records: [
      { id: 'a', values: [1, 0], sparseValues: { indices: [32, 5], values: [2, 1] } },
      { id: 'b', values: [2, 0] },
    ],
  });
  const sparseVector = { indices: [32, 5], values: [1, 1] };
  assert.deepEqual(matchesOf(await space.query({ vector: [1, 0], sparseVector, topK: 2 })), [
    ['a', 4],
    ['b', 2],
  ]);
  await space.update({ id: 'b', sparseValues: { indices: [32], values: [9] } });
  assert.deepEqual(matchesOf(await space.query({ vector: [1, 0], sparseVector, topK: 1 })), [
    ['b', 11],
  ]);
  const { a } = (await space.fetch({ ids: ['a'] })).records;
  assert.deepEqual([...a.sparseValues.indices].sort(), [32, 5]);
});

test('sparse indexes are queried by terms', async () => {
  const space = sparse.namespace(unused('space'));
  await space.upsert({
    records: [
      { id: 'first', sparseValues: { indices: [1, 3], values: [1, 0.5] }, metadata: { g: 'x' } },
      { id: 'second', sparseValues: { indices: [1, 5], values: [0.5, 1] }, metadata: { g: 'y' } },
    ],
  });
  const question = { topK: 2, sparseVector: { indices: [1, 3], values: [1, 0.5] } };
  assert.deepEqual(matchesOf(await space.query(question)), [['first', 1.25], ['second', 0.5]]);
  const filtered = await space.query({
    ...question,
    filter: { g: 'y' },
    includeValues: true,
    includeMetadata: true,
  });
  assert.deepEqual(filtered.matches[0].sparseValues, { indices: [1, 5], values: [0.5, 1] });
  assert.deepEqual(filtered.matches[0].metadata, { g: 'y' });
  await refused(
    'PineconeBadRequestError',
    () => space.upsert({ records: [{ id: 'a', values: [1, 2] }] }),
    'Index configuration does not support dense values',
  );
});

for (const [what, text, ask] of [
  ['a vector of another dimension', 'Vector dimension 3 does not match the dimension of the index 2',
    (space) => space.upsert({ records: [{ id: 'a', values: [1, 2, 3] }] })],
  ['a question of another dimension', 'Vector dimension 1 does not match',
    (space) => space.query({ vector: [1], topK: 1 })],
  ['more than top_k may be', 'top_k', (space) => space.query({ vector: [1, 1], topK: 10_001 })],
  ['nested metadata', '',
    (space) => space.upsert({ records: [{ id: 'a', values: [1, 1], metadata: { a: { b: 1 } } }] })],
  ['a token that nobody gave', '', (space) => space.listPaginated({ paginationToken: 'made up' })],
  ['an empty filter to fetch by', 'Empty filter provided for fetch by metadata request',
    (space) => space.fetchByMetadata({ filter: {} })],
]) {
  test(`${what} is refused`, async () => {
    const space = await stored();
    await refused('PineconeBadRequestError', () => ask(space), text);
  });
}

test('many calls at once', async () => {
  const space = index.namespace(unused('space'));
  const numbers = Array.from({ length: 50 }, (_, number) => number);
  await Promise.all(
    numbers.map((n) => space.upsert({ records: [{ id: `${n}`, values: [1, n] }] })),
  );
  const answers = await Promise.all(
    numbers.map((n) => space.query({ vector: [1, n], topK: 1, includeValues: true })),
  );
  assert.deepEqual(answers.map((one) => one.matches[0].values), numbers.map((n) => [1, n]));
});

test('stats count by namespace', async () => {
  const own = await makeIndex(unused('stats'), { dimension: 2 });
  await own.namespace('x').upsert({ records: POINTS });
  const stats = await own.describeIndexStats();
  assert.deepEqual(
    [stats.totalRecordCount, stats.dimension, stats.indexFullness, stats.namespaces.x.recordCount],
    [3, 2, 0, 3],
  );
  assert.ok(VERSION >= 8);
});
