// Stock MPP client: node mppx.mjs API MODEL 0xPRIVATEKEY (npm i mppx viem beside it)
import assert from 'node:assert/strict';
import { Mppx } from 'mppx/client';
import { evm } from 'mppx/evm/client';
import { privateKeyToAccount } from 'viem/accounts';
const [api, model, key] = process.argv.slice(2), account = privateKeyToAccount(key);
const mpp = Mppx.create({ polyfill: false, methods: [evm.charge({ account, networks: [564666], currencies: ['0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE'], authorization: { name: 'Koin', version: '1' } })] });
for (const stream of [false, true]) {
  const r = await mpp.fetch(api + '/chat/completions', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ model, stream, max_tokens: 16, messages: [{ role: 'user', content: 'What is a receipt?' }] }) });
  const text = await r.text(); assert.equal(r.status, 200, text); assert.ok(text.includes(stream ? '[DONE]' : '"choices"'));
  const receipt = JSON.parse(Buffer.from(r.headers.get('Payment-Receipt'), 'base64url')); assert.equal(receipt.status, 'success'); assert.match(receipt.reference, /^0x[0-9a-f]{64}$/);
}
console.log('ok'); process.exit(0);
