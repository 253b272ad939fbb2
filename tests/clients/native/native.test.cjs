// The native API from another language: stubs that @grpc/proto-loader makes of protos/, at run time.

const assert = require('node:assert/strict');
const path = require('node:path');
const { after, test } = require('node:test');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const address = process.env.TORPOR_SERVER;
const protos = path.resolve(__dirname, '../../../protos');
const { v1 } = grpc.loadPackageDefinition(
  loader.loadSync(['torpor/v1/control.proto', 'torpor/v1/data.proto'], {
    includeDirs: [protos],
    enums: String,
    defaults: true,
    longs: Number,
  }),
).torpor;

const credentials = grpc.credentials.createInsecure();
const control = new v1.ControlService(address, credentials);
const data = new v1.DataService(address, credentials);
after(() => {
  control.close();
  data.close();
});

// A unary call as a promise.
const call = (client, method, request, metadata = new grpc.Metadata()) =>
  new Promise((resolve, reject) => {
    client[method](request, metadata, { deadline: Date.now() + 20_000 }, (error, reply) =>
      error ? reject(error) : resolve(reply));
  });

// A Struct of strings and numbers.
const struct = (values) => ({
  fields: Object.fromEntries(
    Object.entries(values).map(([key, value]) => [
      key,
      typeof value === 'string' ? { stringValue: value } : { numberValue: value },
    ]),
  ),
});

test('an index lives its life', async () => {
  const { index } = await call(control, 'CreateIndex', { name: 'docs', dimension: 3 });
  assert.equal(index.name, 'docs');
  const listed = await call(control, 'ListIndexes', {});
  assert.deepEqual(listed.indexes.map((one) => one.name), ['docs']);

  const written = await call(data, 'Upsert', {
    index: 'docs',
    vectors: [
      { id: 'a', values: [1, 2, 3], metadata: struct({ genre: 'drama', year: 1999 }) },
      { id: 'b', values: [3, 2, 1] },
    ],
  });
  assert.equal(written.upsertedCount, 2);

  const question = { index: 'docs', vector: [1, 2, 2], topK: 2, includeValues: true };
  const answer = await call(data, 'Query', question);
  assert.deepEqual(answer.matches.map((match) => match.id), ['a', 'b']);
  assert.deepEqual(answer.matches[0].values, [1, 2, 3]);

  const filtered = await call(data, 'Query', { ...question, filter: struct({ genre: 'drama' }) });
  assert.deepEqual(filtered.matches.map((match) => match.id), ['a']);

  const fetched = await call(data, 'Fetch', { index: 'docs', ids: ['a'] });
  assert.equal(fetched.vectors.a.metadata.fields.year.numberValue, 1999);

  await call(control, 'DeleteIndex', { name: 'docs' });
  await assert.rejects(call(control, 'DescribeIndex', { name: 'docs' }), {
    code: grpc.status.NOT_FOUND,
  });
});

test('the index may be named in the metadata', async () => {
  await call(control, 'CreateIndex', { name: 'named', dimension: 2 });
  const metadata = new grpc.Metadata();
  metadata.set('torpor-index', 'named');
  await call(data, 'Upsert', { vectors: [{ id: 'a', values: [1, 1] }] }, metadata);
  const stats = await call(data, 'DescribeIndexStats', {}, metadata);
  assert.equal(stats.totalVectorCount, 1);
});

test('what is wrong is refused with its code', async () => {
  await call(control, 'CreateIndex', { name: 'strict', dimension: 2 });
  const wrong = { index: 'strict', vectors: [{ id: 'a', values: [1, 2, 3] }] };
  await assert.rejects(call(data, 'Upsert', wrong), {
    code: grpc.status.INVALID_ARGUMENT,
    details: /Vector dimension 3 does not match/,
  });
  await assert.rejects(call(control, 'CreateIndex', { name: 'strict', dimension: 2 }), {
    code: grpc.status.ALREADY_EXISTS,
  });
  await assert.rejects(call(data, 'Query', { index: 'nobody', vector: [1], topK: 1 }), {
    code: grpc.status.NOT_FOUND,
  });
});

test('many calls share a connection', async () => {
  await call(control, 'CreateIndex', { name: 'busy', dimension: 2 });
  const numbers = Array.from({ length: 200 }, (_, number) => number);
  await Promise.all(
    numbers.map((n) =>
      call(data, 'Upsert', { index: 'busy', vectors: [{ id: `${n}`, values: [1, n] }] })),
  );
  const answers = await Promise.all(
    numbers.map((n) => call(data, 'Query', { index: 'busy', id: `${n}`, topK: 1 })),
  );
  assert.deepEqual(answers.map((one) => one.matches[0].id), numbers.map(String));
});

test('a large message passes', async () => {
  await call(control, 'CreateIndex', { name: 'wide', dimension: 1536 });
  const vectors = Array.from({ length: 500 }, (_, n) => ({
    id: `${n}`,
    values: Array.from({ length: 1536 }, (_, d) => ((n + d) % 97) + 1),
  }));
  const written = await call(data, 'Upsert', { index: 'wide', vectors });
  assert.equal(written.upsertedCount, 500);
  const ids = vectors.map((one) => one.id);
  const fetched = await call(data, 'Fetch', { index: 'wide', ids });
  assert.deepEqual(fetched.vectors['7'].values, vectors[7].values);
});
