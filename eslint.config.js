import js from '@eslint/js';
import tseslint from 'typescript-eslint';

const CONFIG_FILES = ['*.config.{ts,js}', '.dependency-cruiser.cjs'];
const TESTS = ['**/*.test.ts', 'test/**/*.ts'];

const noDefaultExport = {
  selector: 'ExportDefaultDeclaration',
  message: 'Named exports only: a default export has another name in every file.',
};
const LOG_CALL = '[callee.property.name=/^(trace|debug|info|warn|error|fatal)$/]';
const constantPhrase = {
  selector: ['[callee.object.name="logger"]', '[callee.object.property.name="logger"]']
    .map((logger) => `CallExpression${logger}${LOG_CALL} > *.arguments:nth-child(2):not(Literal)`)
    .join(', '),
  message: 'A log message is a constant phrase; what varies goes into fields.',
};
const noEnvironment = {
  object: 'process',
  property: 'env',
  message: 'Environment variables are read in services/*/src/config.ts only.',
};

export default tseslint.config(
  {
    ignores: [
      '**/dist/**',
      '**/target/**',
      '**/node_modules/**',
      'packages/rpc/src/generated/**',
      '.cache/**',
      '.venv/**',
    ],
  },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: {
        projectService: { allowDefaultProject: ['vitest.config.ts'] },
        tsconfigRootDir: import.meta.dirname,
      },
    },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-explicit-any': 'error',
      // Under noUncheckedIndexedAccess a `!` after an index states that the index is in range.
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      // Ports have asynchronous methods that one adapter may answer at once.
      '@typescript-eslint/require-await': 'off',
    },
  },
  {
    // Scripts are plain JavaScript run by Node; the globals they use are named here, one by one.
    files: ['**/*.{js,mjs,cjs}'],
    languageOptions: {
      globals: {
        console: 'readonly',
        process: 'readonly',
        module: 'writable',
        URL: 'readonly',
        Buffer: 'readonly',
        performance: 'readonly',
      },
    },
  },
  {
    rules: {
      eqeqeq: 'error',
      'no-console': 'error',
      'no-restricted-syntax': ['error', noDefaultExport, constantPhrase],
      'no-restricted-properties': ['error', noEnvironment],
      'max-lines': ['error', { max: 400 }],
    },
  },
  {
    files: TESTS,
    rules: {
      'max-lines': ['error', { max: 600 }],
      'no-restricted-properties': 'off',
      // Matchers such as expect.closeTo() are `any`.
      '@typescript-eslint/no-unsafe-assignment': 'off',
    },
  },
  { files: ['services/cli/**', 'examples/**', 'bench/**', '**/scripts/**'], rules: { 'no-console': 'off' } },
  {
    files: ['services/*/src/config.ts', '**/scripts/**', ...CONFIG_FILES],
    rules: { 'no-restricted-properties': 'off' },
  },
  { files: CONFIG_FILES, extends: [tseslint.configs.disableTypeChecked] },
  { files: [...CONFIG_FILES, 'test/support/end-line-reporter.ts'], rules: { 'no-restricted-syntax': 'off' } },
);
