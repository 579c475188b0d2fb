// Answers lines of JSON on standard input: {"sql": …, "format": …}.
// An answer is a line {"seconds", "cpu", "text", "error"}; cpu is of all threads.
import { createInterface } from "node:readline";
import { Session } from "chdb";

const session = new Session(process.argv[2]);

for await (const line of createInterface({ input: process.stdin })) {
  const { sql, format } = JSON.parse(line);
  const used = process.cpuUsage();
  const start = process.hrtime.bigint();
  const answer = {};
  try {
    answer.text = await session.query(sql, format ?? "JSONEachRow");
  } catch (error) {
    answer.error = String(error.message ?? error);
  }
  answer.seconds = Number(process.hrtime.bigint() - start) / 1e9;
  const cpu = process.cpuUsage(used);
  answer.cpu = (cpu.user + cpu.system) / 1e6;
  process.stdout.write(JSON.stringify(answer) + "\n");
}
session.close();
