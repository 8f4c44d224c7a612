// Stock x402 facilitator client: node x402-facilitator.mjs FACILITATOR RPC 0xPRIVATEKEY 0xPAYEE (npm i @x402/core @x402/evm viem beside it)
import assert from 'node:assert/strict';
import { HTTPFacilitatorClient } from '@x402/core/server';
import { ExactEvmScheme } from '@x402/evm/exact/client';
import { createPublicClient, http } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
const [url, rpc, key, payTo] = process.argv.slice(2), network = 'eip155:564666', facilitator = new HTTPFacilitatorClient({ url }), chain = createPublicClient({ transport: http(rpc) });
const want = { scheme: 'exact', network, amount: '1000000000000', asset: '0xEeeeeEeeeEeEeeEeEeEeeEEEeeeeEeeeeeeeEEeE', payTo, maxTimeoutSeconds: 60, extra: { name: 'Koin', version: '1' } };
assert.ok((await facilitator.getSupported()).kinds.some((k) => k.x402Version === 2 && k.scheme === 'exact' && k.network === network));
const { payload } = await new ExactEvmScheme(privateKeyToAccount(key)).createPaymentPayload(2, want), payment = { x402Version: 2, accepted: want, payload };
const before = await chain.getBalance({ address: payTo }), valid = await facilitator.verify(payment, want);
assert.ok(valid.isValid, JSON.stringify(valid)); assert.equal(await chain.getBalance({ address: payTo }), before);
const settled = await facilitator.settle(payment, want);
assert.ok(settled.success, JSON.stringify(settled)); assert.equal(await chain.getBalance({ address: payTo }), before + 1000000000000n);
const again = await facilitator.settle(payment, want).catch((e) => e); assert.ok(!again.success, 'settled twice');
const bad = structuredClone(payment); bad.payload.authorization.nonce = '0x' + '11'.repeat(32);
assert.equal((await facilitator.verify(bad, want).catch((e) => e)).isValid ?? false, false);
assert.equal(await chain.getBalance({ address: payTo }), before + 1000000000000n);
console.log('ok'); process.exit(0);
