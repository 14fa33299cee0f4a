// Stands in for a rank process, as far as its launcher sees one. The first argument says how it behaves:
//   joins    says that it is ready, exits with 0 on SIGTERM
//   crashes  exits with 1 before it is ready
//   refuses  exits with 2, as a service that refuses its configuration
//   stays    says that it is ready and ignores SIGTERM
//   hangs    never says that it is ready
// Like a real one it ends when its launcher is gone, which it sees as the end of its IPC channel.
const [behaviour] = process.argv.slice(2);
if (behaviour === 'crashes') process.exit(1);
if (behaviour === 'refuses') process.exit(2);
process.once('disconnect', () => process.exit(1));
process.on('SIGTERM', () => {
  if (behaviour === 'joins') process.exit(0);
});
if (behaviour !== 'hangs') console.log(JSON.stringify({ ready: true }));
