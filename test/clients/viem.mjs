// Stock viem against the chain: node viem.mjs http://127.0.0.1:8545 0xPRIVATEKEY (npm i viem beside it)
import assert from 'node:assert/strict';
import { createPublicClient, createWalletClient, defineChain, http, parseEther, publicActions, webSocket } from 'viem';
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts';
const [url, key] = process.argv.slice(2), account = privateKeyToAccount(key);
const chain = defineChain({ id: 564666, name: 'Koinon', nativeCurrency: { name: 'Koin', symbol: 'KOIN', decimals: 18 }, rpcUrls: { default: { http: [url] } }, contracts: { multicall3: { address: '0xcA11bde05977b3631167028862bE2a173976CA11' } } });
const c = createWalletClient({ account, chain, transport: http(url), pollingInterval: 100 }).extend(publicActions), to = privateKeyToAccount(generatePrivateKey()).address;
assert.equal(await c.getChainId(), 564666);
for (const at of ['0x4e59b44847b379578588920ca78fbf26c0b4956c', '0xcA11bde05977b3631167028862bE2a173976CA11', '0x000000000022D473030F116dDEE9F6B43aC78BA3']) assert.ok((await c.getCode({ address: at }))?.length > 100, at);
const sent = await c.waitForTransactionReceipt({ hash: await c.sendTransaction({ to, value: parseEther('1.5') }) });
assert.equal(sent.status, 'success'); assert.equal(sent.gasUsed, 21000n); assert.equal(await c.getBalance({ address: to }), parseEther('1.5'));
const { contractAddress: at } = await c.waitForTransactionReceipt({ hash: await c.deployContract({ abi: [], bytecode: '0x6011600c60003960116000f3602a600052600160206000a160206000f3' }) });
assert.equal(BigInt((await c.call({ to: at })).data), 42n);
const ws = createPublicClient({ chain, transport: webSocket(url.replace('http', 'ws')) }), heads = new Promise((ok, no) => { ws.watchBlocks({ onBlock: b => b && ok(b), onError: no }); setTimeout(no, 10000, new Error('no block over WebSocket')); });
const ran = await c.waitForTransactionReceipt({ hash: await c.sendTransaction({ to: at }) }), logs = await c.getLogs({ address: at, fromBlock: ran.blockNumber, toBlock: ran.blockNumber });
assert.equal(ran.logs.length, 1); assert.equal(logs.length, 1); assert.equal(BigInt(logs[0].data), 42n); assert.ok((await heads).number > 0n);
await assert.rejects(c.request({ method: 'eth_fillTransaction', params: [{ to }] }), e => e.code === -32601 || e.cause?.code === -32601);
console.log('viem: chain id, balance, transfer, deploy, call, logs, subscription'); process.exit(0);
