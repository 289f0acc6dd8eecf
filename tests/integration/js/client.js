// usage: node client.js ADDRESS   (reads the proto from the repository; prints one JSON object of what it saw)
'use strict';

const path = require('path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const root = path.resolve(__dirname, '../../../proto');
const definition = loader.loadSync(
    ['precis/v1/summarizer.proto', 'grpc/health/v1/health.proto'],
    {includeDirs: [root], keepCase: true, longs: Number, enums: String, defaults: true});
const {precis, grpc: {health}} = grpc.loadPackageDefinition(definition);

function unary(client, method, request) {
  return new Promise((resolve, reject) => {
    client[method](request, (error, reply) => (error ? reject(error) : resolve(reply)));
  });
}

function stream(client, request) {
  return new Promise((resolve, reject) => {
    const seen = {deltas: [], result: null};
    client.StreamSummarize(request)
        .on('data', (message) => {
          if (message.delta) seen.deltas.push(message.delta);
          if (message.result) seen.result = message.result;
        })
        .on('error', reject)
        .on('end', () => resolve(seen));
  });
}

// Starts a stream and cancels it at the first text.
function cancelled(client, request) {
  return new Promise((resolve) => {
    const call = client.StreamSummarize(request);
    call.on('data', () => call.cancel()).on('error', (error) => resolve(error.code)).on('end', () => resolve(0));
  });
}

function many(client, requests) {
  return new Promise((resolve, reject) => {
    const answers = {};
    const call = client.SummarizeMany();
    call.on('data', (answer) => { answers[answer.client_request_id] = answer; })
        .on('error', reject)
        .on('end', () => resolve(answers));
    for (const request of requests) call.write(request);
    call.end();
  });
}

async function main(address) {
  const credentials = grpc.credentials.createInsecure();
  const client = new precis.v1.Summarizer(address, credentials);
  const healthClient = new health.v1.Health(address, credentials);
  const request = (fields) => ({document: Buffer.from('The council met on Monday.'), options: {max_new_tokens: 8}, ...fields});
  const seen = {};
  seen.health = (await unary(healthClient, 'Check', {service: ''})).status;
  seen.models = (await unary(client, 'ListModels', {})).models;
  seen.unary = await unary(client, 'Summarize', request({attention_backend: 'flash'}));
  seen.stream = await stream(client, request({attention_backend: 'standard'}));
  seen.cancelled = await cancelled(client, request({attention_backend: 'flash_alibi', options: {max_new_tokens: 4000, min_new_tokens: 4000}}));
  seen.many = await many(client, [0, 1, 2, 3].map((i) => request({client_request_id: `${i}`, attention_backend: i === 3 ? 'none' : 'flash'})));
  seen.error = await unary(client, 'Summarize', request({attention_backend: 'none'})).catch((error) => ({code: error.code, details: error.details}));
  console.log(JSON.stringify(seen));
  client.close();
  healthClient.close();
}

main(process.argv[2]).catch((error) => {
  console.error(error);
  process.exit(1);
});
