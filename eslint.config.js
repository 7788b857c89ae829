import neostandard from 'neostandard'
import tseslint from 'typescript-eslint'

export default [
  { ignores: ['dist/', '.tap/', 'data/', 'node_modules/'] },
  ...neostandard({ ts: true }),
  ...tseslint.configs.strictTypeChecked.map((config) => ({ ...config, files: ['**/*.ts'] })),
  {
    files: ['**/*.ts'],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      // Numbers are the one thing that reads the same in a template as in String().
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/consistent-type-imports': 'error',
      // Marked to stand out in an editor; the package itself must pass it on.
      '@typescript-eslint/no-deprecated': ['error', { allow: [{ from: 'file', name: ['allowPlaintext', 'allowSampleEvidence'] }] }],
      // Says that a promise, or a chained reply, is left to itself on purpose.
      'no-void': ['error', { allowAsStatement: true }],
      // A seam that may answer later is async in every implementation, also in one that answers at once.
      '@typescript-eslint/require-await': 'off'
    }
  },
  {
    // tap awaits subtests in turn by itself.
    files: ['test/**/*.ts'],
    rules: {
      '@typescript-eslint/no-floating-promises': ['error', { allowForKnownSafePromises: [{ from: 'package', package: '@tapjs/core', name: 'PromiseWithSubtest' }] }]
    }
  }
]
