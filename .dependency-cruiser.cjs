// One direction of imports (ARCHITECTURE.md): services -> client, exchange, device -> native, rpc, rendezvous
// -> plan -> tensor, runtime -> errors. `scripts/check-imports.mjs` proves that every rule here fires.
// A workspace package resolves to its dist, so paths are matched as packages/<name>/(src|dist); a leading `../` lets
// the same rules judge the fixtures, which live in a folder of their own.

const LAYERS = [
  ['errors'],
  ['tensor', 'runtime'],
  ['plan'],
  ['native', 'rpc', 'rendezvous'],
  ['client', 'exchange', 'device'],
];
/** The only imports between packages of one layer. */
const SIDEWAYS = { rendezvous: ['rpc'], client: ['exchange'] };

const packagePath = (names) => `^(?:\\.\\./)*packages/(?:${names.join('|')})/`;
const PACKAGES = LAYERS.flat();

const layerRules = PACKAGES.map((name) => {
  const level = LAYERS.findIndex((layer) => layer.includes(name));
  const allowed = [name, ...LAYERS.slice(0, level).flat(), ...(SIDEWAYS[name] ?? [])];
  return {
    name: `${name}-imports-downwards`,
    comment: `packages/${name} may import ${allowed.slice(1).join(', ') || 'no other package'}`,
    severity: 'error',
    from: { path: packagePath([name]) },
    to: { path: '^(?:\\.\\./)*packages/', pathNot: packagePath(allowed) },
  };
});

module.exports = {
  forbidden: [
    ...layerRules,
    {
      name: 'services-are-imported-by-nobody',
      comment: 'a service is a process: start it',
      severity: 'error',
      from: { path: '^(packages|services|examples|test|bench)/([^/]+)/' },
      to: { path: '^(?:\\.\\./)*services/', pathNot: '^$1/$2/' },
    },
    {
      name: 'examples-test-bench-are-imported-by-nobody',
      comment: 'what runs on top of the product is no part of it',
      severity: 'error',
      from: { path: '^(packages|services)/' },
      to: { path: '^(?:\\.\\./)*(?:examples|test|bench)/' },
    },
    {
      name: 'no-cycles',
      comment:
        'two files that need each other at run time are one file; a cycle that a type closes is gone by then',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    {
      name: 'no-deep-imports',
      comment: 'a package is entered by its index.ts',
      severity: 'error',
      from: { path: '^(packages|services|examples|test|bench)/([^/]+)/' },
      to: {
        path: '^(?:\\.\\./)*packages/[^/]+/',
        pathNot: ['^$1/$2/', '^(?:\\.\\./)*packages/[^/]+/(?:src|dist)/index\\.(?:d\\.ts|ts|js)$'],
      },
    },
    {
      name: 'grpc-only-behind-rpc',
      comment: 'control traffic has one door; test and bench may play a stranger who has only the proto',
      severity: 'error',
      from: { pathNot: ['^packages/rpc/', '^test/', '^bench/'] },
      to: { path: '(?:^|node_modules/)(?:@grpc/|grpc-health-check|nice-grpc|protobufjs|long(?:/|$))' },
    },
    {
      name: 'redis-only-behind-rendezvous',
      comment: 'Redis has one door',
      severity: 'error',
      from: { pathNot: '^packages/rendezvous/' },
      to: { path: '(?:^|node_modules/)(?:ioredis|redis|@redis)(?:/|$)' },
    },
    {
      name: 'prometheus-only-behind-runtime',
      comment: 'metrics have one door',
      severity: 'error',
      from: { pathNot: '^packages/runtime/' },
      to: { path: '(?:^|node_modules/)prom-client(?:/|$)' },
    },
    {
      name: 'addon-only-behind-native',
      comment: 'packages/native/src/native.ts is the only file that loads the addon',
      severity: 'error',
      from: { pathNot: '^packages/native/src/native\\.ts$' },
      to: { path: '\\.node$' },
    },
    {
      name: 'tests-are-imported-by-nobody',
      comment: 'what two tests share is a file of its own, without the suffix',
      severity: 'error',
      from: {},
      to: { path: '\\.test\\.ts$' },
    },
    {
      name: 'development-tools-only-in-tests',
      comment: 'the product runs without its devDependencies',
      severity: 'error',
      from: { path: '^(?:packages|services|examples)/', pathNot: '\\.test\\.ts$' },
      to: {
        path: '(?:^|node_modules/)(?:vitest|fast-check|typescript)(?:/|$)',
        dependencyTypesNot: ['type-only'],
      },
    },
    {
      name: 'imports-resolve',
      comment: 'also what an unbuilt package looks like: run `npm run build`',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true, pathNot: '\\.node$' },
    },
  ],
  options: {
    doNotFollow: { path: ['node_modules', '(?:^|/)dist/'] },
    exclude: { path: ['(?:^|/)target/', '^packages/rpc/src/generated/'] },
    tsPreCompilationDeps: true,
    combinedDependencies: true,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
    },
  },
};
