-- Sends one request again and again. Each time, {user} and {task} become those of a random task,
-- computed as in data.py. Prints the figures as one line of JSON.

local template, tasks, users
local values = {}

function init(args)
  template, tasks, users = args[1], tonumber(args[2]), tonumber(args[3])
  math.randomseed(os.time())
end

function request()
  local n = math.random(0, tasks - 1)
  local milliseconds = string.format("%012x", 1735689600000 + n * 1000)
  values.user = string.format("u%05d", n % users)
  values.task = milliseconds:sub(1, 8) .. "-" .. milliseconds:sub(9)
    .. string.format("-7000-8000-%012x", n)
  return (template:gsub("{(%l+)}", values))
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "refused": %d, "broken": %d}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout
  ))
end
