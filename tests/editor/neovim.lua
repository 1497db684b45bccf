-- Neovim (0.7 or newer) with editors/neovim as an editor of dmd2.fg. The environment says which server (FGC) and which
-- file (SPEC).
-- Ends with status 0, or prints what is wrong and ends with 1.

local function fail(message)
  io.stderr:write(message .. '\n')
  vim.cmd('cquit 1')
end

local function check(condition, message)
  if not condition then
    fail(message)
    error(message)
  end
end

local function main()
  vim.g.fgc_path = vim.env.FGC
  vim.cmd('edit ' .. vim.env.SPEC)
  local buffer = vim.api.nvim_get_current_buf()
  check(vim.bo.filetype == 'fg', 'the plugin does not know the file')
  local function client()
    local get = vim.lsp.get_clients or vim.lsp.buf_get_clients
    local found = vim.lsp.get_clients and get({ bufnr = buffer }) or get(buffer)
    return vim.tbl_values(found)[1]
  end
  local function wait(what, condition)
    check(vim.wait(30000, condition, 10), what)
  end
  wait('the server does not attach', function()
    local c = client()
    return c ~= nil and c.server_capabilities ~= nil and c.initialized ~= false
  end)

  -- Line (from 0) and byte of the nth place where a text stands.
  local function find(text, nth)
    local left = nth or 1
    for i, line in ipairs(vim.api.nvim_buf_get_lines(buffer, 0, -1, true)) do
      local at = line:find(text, 1, true)
      if at then
        left = left - 1
        if left == 0 then
          return i - 1, at - 1
        end
      end
    end
    check(false, 'the buffer lacks ' .. text)
  end
  local function ask(method, text, more, nth)
    local line, byte = find(text, nth)
    vim.api.nvim_win_set_cursor(0, { line + 1, byte })
    local encoding = client().offset_encoding
    local params = vim.tbl_extend('force', vim.lsp.util.make_position_params(0, encoding), more or {})
    local answers = vim.lsp.buf_request_sync(buffer, method, params, 30000)
    check(answers, method .. ' is not answered')
    local answer = vim.tbl_values(answers)[1]
    check(answer and not (answer.err or answer.error), method .. ' fails: ' .. vim.inspect(answer))
    return answer.result
  end
  local function text()
    return table.concat(vim.api.nvim_buf_get_lines(buffer, 0, -1, true), '\n')
  end
  local whole = text()

  -- A mistake gets its code at its range, and only that one.
  local line, byte = find('stop(real)')
  vim.api.nvim_buf_set_text(buffer, line, byte, line, byte + 4, { 'stpo' })
  wait('the mistake is not shown', function() return #vim.diagnostic.get(buffer) > 0 end)
  local found = vim.diagnostic.get(buffer)
  local d = found[1]
  check(#found == 1, 'more than the one mistake: ' .. vim.inspect(found))
  check((d.code or d.user_data.lsp.code) == 'FG0104', 'wrong code: ' .. vim.inspect(d))
  check(d.lnum == line and d.col == byte and d.end_lnum == line and d.end_col == byte + 4, 'wrong range: ' .. vim.inspect(d))
  vim.api.nvim_buf_set_text(buffer, line, byte, line, byte + 4, { 'stop' })
  wait('the mistake does not go', function() return #vim.diagnostic.get(buffer) == 0 end)
  check(text() == whole, 'the text differs')

  local hover = ask('textDocument/hover', 'x_g = ')
  check(hover.contents.value:find('f32%[B=256, C=2%]'), 'hover: ' .. vim.inspect(hover))

  local defined = ask('textDocument/definition', 'vsd(x_g')
  check(defined.uri:find('loss%.fg$'), 'definition: ' .. vim.inspect(defined))
  vim.cmd('edit ' .. vim.uri_to_fname(defined.uri))
  local here = vim.api.nvim_buf_get_lines(0, defined.range.start.line, defined.range.start.line + 1, true)[1]
  check(here:find('^fn vsd%('), 'definition leads to: ' .. here)
  vim.cmd('buffer ' .. buffer)

  local edit = ask('textDocument/rename', 'x_g = ', { newName = 'generated' })
  vim.lsp.util.apply_workspace_edit(edit, client().offset_encoding)
  local _, uses = text():gsub('generated', '')
  local _, left = text():gsub('x_g', '')
  check(uses == 4 and left == 0, 'renamed ' .. uses .. ', left ' .. left)
  check(#vim.diagnostic.get(buffer) == 0, 'the renamed text has mistakes')
  vim.cmd('undo')
  check(text() == whole, 'undo does not bring the text back')

  local row = find('let y = add_noise')
  vim.api.nvim_buf_set_lines(buffer, row, row, true, { '  let more = student.' })
  vim.api.nvim_win_set_cursor(0, { row + 1, 20 })
  local list = vim.lsp.buf_request_sync(buffer, 'textDocument/completion', (function()
    local params = vim.lsp.util.make_position_params(0, client().offset_encoding)
    params.position = { line = row, character = 21 }
    return params
  end)(), 30000)
  local items = vim.tbl_values(list)[1].result
  local labels = vim.tbl_map(function(item) return item.label end, items.items or items)
  check(vim.tbl_contains(labels, 'x0') and vim.tbl_contains(labels, 'schedule'), 'completion: ' .. vim.inspect(labels))
  vim.api.nvim_buf_set_lines(buffer, row, row + 1, true, {})

  -- A mess is put in order.
  vim.api.nvim_buf_set_lines(buffer, row, row + 1, true, { '     let y   = add_noise( s,x_g,eps , t )' })
  if vim.lsp.buf.format then
    vim.lsp.buf.format({ async = false, timeout_ms = 30000 })
  else
    vim.lsp.buf.formatting_sync(nil, 30000)
  end
  check(text() == whole, 'formatted:\n' .. text())
end

local ok, message = xpcall(main, debug.traceback)
if not ok then
  fail(tostring(message))
end
vim.cmd('qall!')
