// The short life of an index with the TypeScript client: nothing but PINECONE_CONTROLLER_HOST.

const { Pinecone } = require('@pinecone-database/pinecone');

const name = 'quickstart';
const names = async (pc) => (await pc.listIndexes()).indexes.map((one) => one.name);

async function main() {
  const pc = new Pinecone();
  await pc.createIndex({
    name,
    dimension: 3,
    metric: 'cosine',
    spec: { serverless: { cloud: 'aws', region: 'us-east-1' } },
  });
  console.log(await names(pc));
  while (!(await pc.describeIndex(name)).status.ready) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  const index = pc.index({ name });
  await index.upsert({
    records: [
      { id: 'a', values: [1, 2, 3], metadata: { genre: 'drama' } },
      { id: 'b', values: [3, 2, 1], metadata: { genre: 'comedy' } },
      { id: 'c', values: [1, 0, 0] },
    ],
  });
  const answer = await index.query({ vector: [1, 2, 2], topK: 2, includeValues: true });
  for (const match of answer.matches) {
    console.log(match.id, match.score.toFixed(3), match.values);
  }
  await pc.deleteIndex(name);
  console.log(await names(pc));
}

main();
