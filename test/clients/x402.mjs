// Stock x402 clients: node x402.mjs API MODEL RPC 0xPRIVATEKEY exact|batch|stream|openai (npm i @x402/fetch @x402/evm viem openai beside it)
import assert from 'node:assert/strict';
import { decodePaymentResponseHeader, wrapFetchWithPaymentFromConfig } from '@x402/fetch';
import { ExactEvmScheme } from '@x402/evm/exact/client';
import { BatchSettlementEvmScheme } from '@x402/evm/batch-settlement/client';
import { toClientEvmSigner } from '@x402/evm';
import { createPublicClient, http } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import OpenAI from 'openai';
const [api, model, rpc, key, what] = process.argv.slice(2), network = 'eip155:564666', asset = '0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE';
const chain = createPublicClient({ transport: http(rpc) }), account = privateKeyToAccount(key), signer = toClientEvmSigner(account, chain);
const batch = new BatchSettlementEvmScheme(signer), client = what === 'exact' || what === 'openai' ? new ExactEvmScheme(signer) : batch;
const pay = wrapFetchWithPaymentFromConfig(fetch, { schemes: [{ network, client }], spendControls: { allowedAssets: [{ network, asset }] } });
const ask = (stream) => pay(api + '/chat/completions', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ model, stream, max_tokens: 16, messages: [{ role: 'user', content: 'Who pays the provider?' }] }) });
const before = await chain.getBalance(account);
if (what === 'openai') {
  const openai = new OpenAI({ baseURL: api, apiKey: 'unused', fetch: pay, maxRetries: 0 }); let text = '';
  for await (const part of await openai.chat.completions.create({ model, stream: true, max_tokens: 16, messages: [{ role: 'user', content: 'What is a receipt?' }] })) text += part.choices[0]?.delta?.content ?? '';
  assert.ok(text.length > 0); console.log('ok');
} else for (let i = 0; i < (what === 'exact' ? 2 : 4); i++) {
  const r = await ask(what === 'stream' || i % 2 === 1), text = await r.text(), paid = decodePaymentResponseHeader(r.headers.get('PAYMENT-RESPONSE') ?? 'e30=');
  assert.equal(r.status, 200, text); assert.ok(paid.success && text.includes(what === 'stream' || i % 2 ? '[DONE]' : '"choices"'), text); assert.equal(paid.network, network);
  if (what === 'exact') assert.match(paid.transaction, /^0x[0-9a-f]{64}$/); else assert.equal(!!paid.transaction, i === 0); // one deposit, then vouchers
}
if (what === 'exact' || what === 'openai') assert.ok(await chain.getBalance(account) < before);
if (what === 'batch') {
  const left = await batch.refund(api + '/chat/completions'); assert.ok(left.success && BigInt(left.amount) > 0n);
  const spent = before - await chain.getBalance(account); assert.ok(spent > 0n && spent < 10n ** 16n, String(spent));
}
if (what !== 'openai') console.log('ok');
process.exit(0);
