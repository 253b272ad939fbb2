// The control plane: indexes are made, described, changed and deleted.

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Pinecone } = require('@pinecone-database/pinecone');
const { VERSION, SERVERLESS, pc, unused, makeIndex, refused } = require('./client.cjs');

const create = (name, settings) =>
  pc.createIndex({ name, dimension: 3, metric: 'cosine', spec: SERVERLESS, ...settings });
const found = (name) => pc.describeIndex(name);
const names = async () => (await pc.listIndexes()).indexes.map((one) => one.name);

test('an index is what was asked for', async () => {
  const name = unused('index');
  await create(name, { dimension: 8, metric: 'dotproduct', waitUntilReady: true });
  const index = await found(name);
  assert.deepEqual(
    [index.name, index.dimension, index.metric, index.vectorType, index.deletionProtection],
    [name, 8, 'dotproduct', 'dense', 'disabled'],
  );
  assert.deepEqual([index.status.ready, index.status.state], [true, 'Ready']);
  assert.deepEqual(
    [index.spec.serverless.cloud, index.spec.serverless.region],
    ['aws', 'us-east-1'],
  );
  assert.ok(index.host);
});

test('a metric is cosine unless said', async () => {
  const name = unused('index');
  await pc.createIndex({ name, dimension: 2, spec: SERVERLESS });
  assert.equal((await found(name)).metric, 'cosine');
});

for (const metric of ['cosine', 'euclidean', 'dotproduct']) {
  test(`the metric ${metric} is kept`, async () => {
    const name = unused('index');
    await create(name, { metric });
    assert.equal((await found(name)).metric, metric);
  });
}

test('a sparse index has no dimension', async () => {
  const name = unused('index');
  await pc.createIndex({ name, vectorType: 'sparse', metric: 'dotproduct', spec: SERVERLESS });
  const index = await found(name);
  assert.deepEqual([index.vectorType, index.metric], ['sparse', 'dotproduct']);
  assert.equal(index.dimension, undefined);
});

test('indexes are listed', async () => {
  const name = unused('index');
  await create(name);
  const listed = (await pc.listIndexes()).indexes.find((one) => one.name === name);
  assert.equal(listed.dimension, 3);
});

test('an index is gone when it is deleted', async () => {
  const name = unused('index');
  await create(name);
  await pc.deleteIndex(name);
  assert.ok(!(await names()).includes(name));
  await refused('PineconeNotFoundError', () => found(name));
  await refused('PineconeNotFoundError', () => pc.deleteIndex(name));
});

test('an index that exists is not made again', async () => {
  const name = unused('index');
  await create(name);
  await refused('PineconeConflictError', () => create(name));
  await create(name, { suppressConflicts: true, waitUntilReady: true });
  assert.equal((await found(name)).dimension, 3);
});

test('a host never changes', async () => {
  const name = unused('index');
  await create(name);
  const { host } = await found(name);
  await pc.configureIndex({ name, tags: { a: 'b' } });
  assert.equal((await found(name)).host, host);
});

test('an index is opened by its host', async () => {
  const name = unused('index');
  const index = await makeIndex(name, { dimension: 2 });
  await index.upsert({ records: [{ id: 'a', values: [1, 1] }] });
  const opened = pc.index({ host: (await found(name)).host });
  assert.equal((await opened.describeIndexStats()).totalRecordCount, 1);
});

test('a protected index is not deleted', async () => {
  const name = unused('index');
  await create(name, { deletionProtection: 'enabled' });
  assert.equal((await found(name)).deletionProtection, 'enabled');
  await refused(
    'PineconeBadRequestError',
    () => pc.deleteIndex(name),
    'Deletion protection is enabled for this index',
  );
  await pc.configureIndex({ name, deletionProtection: 'disabled' });
  await pc.deleteIndex(name);
  assert.ok(!(await names()).includes(name));
});

test('tags are merged', async () => {
  const name = unused('index');
  await create(name, { tags: { project: 'one' } });
  assert.deepEqual((await found(name)).tags, { project: 'one' });
  await pc.configureIndex({ name, tags: { more: 'two' } });
  assert.deepEqual((await found(name)).tags, { project: 'one', more: 'two' });
  await pc.configureIndex({ name, tags: { more: '' } });
  assert.deepEqual((await found(name)).tags, { project: 'one' });
  await pc.configureIndex({ name, deletionProtection: 'enabled' });
  assert.deepEqual((await found(name)).tags, { project: 'one' });
  await pc.configureIndex({ name, deletionProtection: 'disabled', tags: { project: '' } });
  assert.equal((await found(name)).tags, undefined);
});

const capacityOf = async (name) => {
  const index = await found(name);
  return VERSION < 9 ? index.spec.serverless.readCapacity : index.readCapacity;
};

test('read capacity is changed', async () => {
  const name = unused('index');
  await create(name);
  assert.equal((await capacityOf(name)).mode, 'OnDemand');
  await pc.configureIndex({
    name,
    readCapacity: { mode: 'Dedicated', nodeType: 't1', manual: { replicas: 1, shards: 1 } },
  });
  const capacity = await capacityOf(name);
  assert.equal(capacity.mode, 'Dedicated');
  assert.equal(capacity.dedicated.nodeType, 't1');
  assert.equal(capacity.dedicated.manual.replicas, 1);
  await pc.configureIndex({ name, readCapacity: { mode: 'OnDemand' } });
  assert.equal((await capacityOf(name)).mode, 'OnDemand');
});

test('an index is made with dedicated read capacity', async () => {
  const name = unused('index');
  const readCapacity = { mode: 'Dedicated', nodeType: 'b1', manual: { replicas: 1, shards: 1 } };
  await create(name, { spec: { serverless: { ...SERVERLESS.serverless, readCapacity } } });
  assert.equal((await capacityOf(name)).mode, 'Dedicated');
});

const noPods = VERSION > 8 && 'this client makes no pod indexes';

test('a pod index is made and changed', { skip: noPods }, async () => {
  const name = unused('pod');
  const environment = 'us-east1-gcp';
  await create(name, { spec: { pod: { environment, podType: 'p1.x1', pods: 1 } } });
  let { pod } = (await found(name)).spec;
  assert.deepEqual([pod.environment, pod.podType, pod.replicas], [environment, 'p1.x1', 1]);
  await pc.configureIndex({ name, podReplicas: 2 });
  ({ pod } = (await found(name)).spec);
  assert.equal(pod.replicas, 2);
  await pc.configureIndex({ name, podReplicas: 1, podType: 'p1.x2' });
  ({ pod } = (await found(name)).spec);
  assert.deepEqual([pod.replicas, pod.podType], [1, 'p1.x2']);
});

test('an index that is not there', async () => {
  await refused('PineconeNotFoundError', () => found('nobody'));
  await refused('PineconeNotFoundError', () => pc.configureIndex({ name: 'nobody', tags: { a: 'b' } }));
  await refused('PineconeNotFoundError', () => pc.index({ name: 'nobody' }).describeIndexStats());
});

for (const [what, settings] of [
  ['a name in capitals', { name: 'Capital' }],
  ['a name that ends in a dash', { name: 'dash-' }],
  ['a name that is too long', { name: 'x'.repeat(46) }],
  ['no dimension at all', { dimension: 20_001 }],
  ['an unknown metric', { metric: 'manhattan' }],
]) {
  test(`${what} is refused`, async () => {
    const name = unused('bad');
    await assert.rejects(() => create(name, settings), (error) => {
      const kinds = [
        'PineconeBadRequestError', 'PineconeUnprocessableEntityError', 'PineconeArgumentError',
      ];
      assert.ok(kinds.includes(error.name), error.name);
      return true;
    });
  });
}

test('what is not there says so', async () => {
  const name = unused('index');
  await create(name);
  await refused(
    'PineconeBadRequestError',
    () => pc.createBackup({ indexName: name, name: 'kept' }),
    'not there yet',
  );
  await refused(
    'PineconeBadRequestError',
    () =>
      pc.createIndexForModel({
        name: unused('model'),
        cloud: 'aws',
        region: 'us-east-1',
        embed: { model: 'multilingual-e5-large', fieldMap: { text: 'text' } },
      }),
    'no embedding models',
  );
  await refused(
    'PineconeBadRequestError',
    () => pc.index({ name }).startImport({ uri: 's3://bucket/folder' }),
    'not there yet',
  );
});

test('a server that is not there is no answer', async () => {
  const lost = new Pinecone({ apiKey: 'k', controllerHostUrl: 'http://127.0.0.1:9', maxRetries: 0 });
  await refused('PineconeConnectionError', () => lost.listIndexes());
});

test('a collection is made, listed, described and deleted', async () => {
  const name = unused('source');
  const index = await makeIndex(name, { dimension: 2 });
  await index.upsert({ records: [{ id: 'a', values: [1, 1] }, { id: 'b', values: [1, 2] }] });
  const kept = unused('kept');
  const made = await pc.createCollection({ name: kept, source: name });
  assert.equal(made.name, kept);
  const collection = await pc.describeCollection(kept);
  assert.deepEqual(
    [collection.status, collection.vectorCount, collection.dimension],
    ['Ready', 2, 2],
  );
  const { collections } = await pc.listCollections();
  assert.ok(collections.some((one) => one.name === kept && one.status === 'Ready'));
  if (VERSION < 9) {
    const again = unused('again');
    const spec = { serverless: { ...SERVERLESS.serverless, sourceCollection: kept } };
    await create(again, { dimension: 2, spec });
    assert.equal((await pc.index({ name: again }).describeIndexStats()).totalRecordCount, 2);
  }
  await pc.deleteCollection(kept);
  await refused('PineconeNotFoundError', () => pc.describeCollection(kept));
  await refused('PineconeNotFoundError', () => pc.createCollection({ name: kept, source: 'nobody' }));
});
