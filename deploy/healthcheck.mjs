// For a container's health check: exits with 0 where /readyz says yes, else with 1, saying what it said. Plain JavaScript, no dependencies.
const port = process.env.OPS_PORT || "9464";
try {
  const answer = await fetch(`http://127.0.0.1:${port}/readyz`, { signal: AbortSignal.timeout(4_000) });
  if (answer.status === 200) process.exit(0);
  process.stderr.write(await answer.text());
} catch (error) {
  process.stderr.write(`${error.cause?.message ?? error.message}\n`);
}
process.exit(1);
