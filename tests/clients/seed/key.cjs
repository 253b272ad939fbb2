// What a program sees of the server's keys: it has one that is right, and one that is not.

const { Pinecone } = require('@pinecone-database/pinecone');

const said = (error) => console.log(error.name);

async function main() {
  const pc = new Pinecone();
  const spec = { serverless: { cloud: 'aws', region: 'us-east-1' } };
  await pc.createIndex({ name: 'locked', dimension: 2, spec });
  const { host } = await pc.describeIndex('locked');
  await pc.index({ name: 'locked' }).upsert({ records: [{ id: 'a', values: [1, 1] }] });
  console.log((await pc.index({ name: 'locked' }).describeIndexStats()).totalRecordCount);
  // Given any option, this client reads no variable.
  const controllerHostUrl = process.env.PINECONE_CONTROLLER_HOST;
  const stranger = new Pinecone({ apiKey: 'another', controllerHostUrl });
  await stranger.listIndexes().catch(said);
  await stranger.index({ host }).describeIndexStats().catch(said);
}

main();
