// A receiver of webhooks that does what the messages ask for, and writes a JSON line for each request to stdout.
//
// A message is {"n": ..., "answers": [...]}; the k-th attempt of it (by webhook-id) gets the k-th answer, the last one
// after that; without answers 204. An answer is a status, or "STATUS RETRY-AFTER", or one of:
// hang: never answer. close: close the connection without an answer. half: close it in the middle of the answer.
import http from 'node:http';

const attempts = new Map();

function answer(response, text) {
  const [status, retryAfter] = text.split(' ');
  if (status === 'hang') return;
  if (status === 'close') return response.socket.destroy();
  if (status === 'half') {
    response.writeHead(200, {'Content-Length': 100});
    response.write('half', () => response.socket.destroy());
    return;
  }
  const headers = {};
  if (retryAfter) headers['Retry-After'] = retryAfter === 'date' ? new Date(Date.now() + 2000).toUTCString() : retryAfter;
  if (status.startsWith('3')) headers.Location = '/elsewhere';
  response.writeHead(Number(status), headers).end();
}

const server = http.createServer((request, response) => {
  const parts = [];
  request.on('data', part => parts.push(part));
  request.on('end', () => {
    const body = Buffer.concat(parts);
    const id = request.headers['webhook-id'];
    const attempt = attempts.get(id) ?? 0;
    attempts.set(id, attempt + 1);
    let answers = ['204'];
    try { answers = JSON.parse(body).answers ?? answers; } catch { /* not one of these messages */ }
    const text = answers[Math.min(attempt, answers.length - 1)];
    const {method, url, headers} = request;
    const line = {method, url, headers, body: body.toString('base64'), answer: text, at: performance.now() / 1000};
    process.stdout.write(JSON.stringify(line) + '\n', () => answer(response, text));
  });
});
server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => console.log(server.address().port));
process.stdin.on('end', () => process.exit(0)).resume();
