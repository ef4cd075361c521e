// gRPC by @grpc/grpc-js. `server`: `suites.v1.Echo` on a port of the kernel's choice, which it prints; then a line when a
// call that hangs has begun or was cancelled. `client ADDRESS`: makes each kind of call and prints what came of it.
import grpc from '@grpc/grpc-js';

const same = (bytes) => bytes;
const method = (name, requestStream, responseStream) => ({
  path: `/suites.v1.Echo/${name}`, requestStream, responseStream, requestSerialize: same, requestDeserialize: same,
  responseSerialize: same, responseDeserialize: same,
});
const service = {
  unary: method('Unary', false, false), serverStream: method('ServerStream', false, true),
  clientStream: method('ClientStream', true, false), bidi: method('Bidi', true, true),
  fail: method('Fail', false, false), hang: method('Hang', false, true),
};
const tell = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
const mine = (metadata) => Object.entries(metadata.getMap()).filter(([name]) => /^x-(text|raw)/.test(name))
  .map(([name, value]) => [name, Buffer.from(value).toString('hex')]).sort();

function serve() {
  const server = new grpc.Server();
  server.addService(service, {
    unary(call, done) {
      const back = new grpc.Metadata();
      for (const name of ['x-text', 'x-raw-bin']) for (const value of call.metadata.get(name)) back.add(name, value);
      call.sendMetadata(back);
      done(null, call.request, back);
    },
    serverStream(call) {
      for (let n = 0; n < Number(call.request); ++n) call.write(Buffer.from(String(n)));
      call.end();
    },
    clientStream(call, done) {
      const parts = [];
      call.on('data', (part) => parts.push(part)).on('end', () => done(null, Buffer.concat(parts)));
    },
    bidi(call) {
      call.on('data', (part) => call.write(part)).on('end', () => call.end());
    },
    fail(call, done) {
      done({ code: grpc.status.ABORTED, details: String(call.request) });
    },
    hang(call) {
      call.on('cancelled', () => tell({ cancelled: Date.now() }));
      call.write(Buffer.from('begun'));
    },
  });
  server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) => tell({ error, port }));
}

async function call(address) {
  const Client = grpc.makeGenericClientConstructor(service, 'Echo');
  const client = new Client(address, grpc.credentials.createInsecure());
  const soon = () => ({ deadline: Date.now() + 60_000 });
  const answer = (start) => new Promise((resolve) => {
    const told = {};
    const made = start((error, body) => Object.assign(told, { code: error?.code ?? 0, details: error?.details, body: String(body) }));
    made.on('metadata', (head) => { told.head = mine(head); });
    made.on('status', ({ metadata }) => { told.trailers = mine(metadata); setImmediate(resolve, told); });
  });
  const drained = (stream) => new Promise((resolve) => {
    const parts = [];
    let code = 0;
    stream.on('data', (part) => parts.push(String(part))).on('error', (error) => { code = error.code; });
    stream.on('status', () => setImmediate(() => resolve({ code, parts })));
  });
  const metadata = new grpc.Metadata();
  metadata.add('x-text', 'a, b;c');
  metadata.add('x-raw-bin', Buffer.from(Array.from({ length: 256 }, (_, n) => n)));
  const result = { sent: mine(metadata) };
  result.unary = await answer((done) => client.unary(Buffer.from('hello'), metadata, soon(), done));
  result.fail = await answer((done) => client.fail(Buffer.from('50% für "alle"\r\n'), new grpc.Metadata(), soon(), done));
  result.server_stream = await drained(client.serverStream(Buffer.from('300'), soon()));
  result.client_stream = await answer((done) => {
    const stream = client.clientStream(new grpc.Metadata(), soon(), done);
    for (let n = 0; n < 300; ++n) stream.write(Buffer.from('a'));
    stream.end();
    return stream;
  });
  const bidi = client.bidi(soon());
  const heard = drained(bidi);
  for (let n = 0; n < 300; ++n) bidi.write(Buffer.from(String(n)));
  bidi.end();
  result.bidi = await heard;
  result.deadline = await drained(client.hang(Buffer.from(''), { deadline: Date.now() + 300 }));
  const hanging = client.hang(Buffer.from('begin'), soon());
  const cancelled = drained(hanging);
  await new Promise((resolve) => { hanging.once('data', resolve); });
  result.cancelled_at = Date.now();
  hanging.cancel();
  result.cancelled = (await cancelled).code;
  tell(result);
  client.close();
}

const [what, address] = process.argv.slice(2);
await (what === 'server' ? serve() : call(address));
